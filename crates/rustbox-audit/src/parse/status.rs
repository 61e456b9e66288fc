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
    /// Whether SIGKILL was sent to it, so that it runs no code of its own any more (`SigPnd`, `ShdPnd`).
    pub kill_is_pending: bool,
}

/// SIGKILL, which is 9, in the kernel's masks of signals.
const KILL_BIT: u64 = 1 << 8;

/// Parses the file.
///
/// The first line is the name. The kernel escapes line ends in it, so no later line is forged; still
/// the first line is passed over, and of each field the first line counts.
#[must_use]
pub fn parse_status(text: &[u8]) -> Option<Status> {
    let mut uid = None;
    let mut pid_in_namespace = None;
    let mut namespaces_below = None;
    let mut kill_is_pending = false;
    for line in text.split(|byte| *byte == b'\n').skip(1) {
        if let Some(rest) = line.strip_prefix(b"Uid:\t") {
            let real = rest.split(|byte| *byte == b'\t').next()?;
            uid = uid.or(Some(number(real)?));
        } else if let Some(rest) = line.strip_prefix(b"NSpid:\t") {
            let innermost = rest.rsplit(|byte| *byte == b'\t').next()?;
            pid_in_namespace = Some(number(innermost)?);
            namespaces_below = Some(rest.iter().filter(|byte| **byte == b'\t').count());
        } else if let Some(mask) = line.strip_prefix(b"SigPnd:\t") {
            kill_is_pending |= hexadecimal(mask)? & KILL_BIT != 0;
        } else if let Some(mask) = line.strip_prefix(b"ShdPnd:\t") {
            kill_is_pending |= hexadecimal(mask)? & KILL_BIT != 0;
            break;
        }
    }
    Some(Status { uid: uid?, pid_in_namespace, namespaces_below, kill_is_pending })
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
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
            Some(Status { uid: 70005, pid_in_namespace: Some(2), namespaces_below: Some(1), kill_is_pending: false })
        );
    }

    #[test]
    fn a_pending_sigkill_is_told() {
        // Linux 6.18, a process in a frozen v1 freezer that was sent SIGTERM, and SIGKILL.
        let text = b"Name:\tsleep\nUid:\t0\t0\t0\t0\nNSpid:\t9\nSigQ:\t2/7713\nSigPnd:\t0000000000000100\n\
            ShdPnd:\t0000000000004100\nSigBlk:\t0000000000000000\n";
        assert!(parse_status(text).unwrap().kill_is_pending);
        let text = String::from_utf8(text.to_vec()).unwrap().replace("00100\n", "00000\n").replace("4100", "4000");
        assert!(!parse_status(text.as_bytes()).unwrap().kill_is_pending);
    }

    #[test]
    fn without_a_uid_there_is_no_status() {
        assert_eq!(parse_status(b"Name:\tUid:\t0\nNSpid:\t1\n"), None);
        assert_eq!(parse_status(b""), None);
    }
}
