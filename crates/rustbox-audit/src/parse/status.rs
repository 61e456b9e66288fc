//! `/proc/<pid>/status`, the few lines that an audit needs.

use super::number;

/// Lines of `/proc/<pid>/status` (proc_pid_status(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Real uid, in the reader's user namespace.
    pub uid: u32,
    /// Its pid in its own, innermost PID namespace; none before Linux 4.1.
    pub pid_in_namespace: Option<u32>,
    /// How many PID namespaces below the reader's it is in; none before Linux 4.1. With 0 it is in the reader's own.
    pub namespaces_below: Option<usize>,
}

/// Parses the file.
///
/// The first line is the name. The kernel escapes line ends in it, so no later line is forged; still
/// the first line is passed over, and of each field the first line counts.
#[must_use]
pub fn parse_status(text: &[u8]) -> Option<Status> {
    let mut uid = None;
    let mut pid_in_namespace = None;
    let mut namespaces_below = None;
    for line in text.split(|byte| *byte == b'\n').skip(1) {
        if let Some(rest) = line.strip_prefix(b"Uid:\t") {
            let real = rest.split(|byte| *byte == b'\t').next()?;
            uid = uid.or(Some(number(real)?));
        } else if let Some(rest) = line.strip_prefix(b"NSpid:\t") {
            let innermost = rest.rsplit(|byte| *byte == b'\t').next()?;
            pid_in_namespace = Some(number(innermost)?);
            namespaces_below = Some(rest.iter().filter(|byte| **byte == b'\t').count());
            break;
        }
    }
    Some(Status { uid: uid?, pid_in_namespace, namespaces_below })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_cannot_forge_a_uid() {
        // Linux 6.18; the name is `x) Z 1 1<newline>Uid:<tab>0`, as the kernel shows it here.
        let text = b"Name:\tx) Z 1 1\\nUid:\t0\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t812\nNgid:\t0\nPid:\t812\n\
            PPid:\t811\nTracerPid:\t0\nUid:\t70005\t70005\t70005\t70005\nGid:\t70005\t70005\t70005\t70005\nFDSize:\t64\n\
            Groups:\t \nNStgid:\t812\t2\nNSpid:\t812\t2\nNSpgid:\t812\t2\n";
        assert_eq!(
            parse_status(text),
            Some(Status { uid: 70005, pid_in_namespace: Some(2), namespaces_below: Some(1) })
        );
    }

    #[test]
    fn without_a_uid_there_is_no_status() {
        assert_eq!(parse_status(b"Name:\tUid:\t0\nNSpid:\t1\n"), None);
        assert_eq!(parse_status(b""), None);
    }
}
