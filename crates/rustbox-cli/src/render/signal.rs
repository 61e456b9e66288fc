//! Names of signals.

/// The name that `kill -l` gives, or `signal N` for one without a name.
pub(crate) fn signal_name(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn signals_have_their_names() {
        assert_eq!(super::signal_name(9), "SIGKILL");
        assert_eq!(super::signal_name(31), "SIGSYS");
        assert_eq!(super::signal_name(40), "signal 40");
    }
}
