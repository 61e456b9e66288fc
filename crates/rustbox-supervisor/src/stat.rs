//! `/proc/<pid>/stat` of a box's processes, for the report.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustbox_core::BoxProcess;

use crate::claim::shown;
use crate::read;

/// The fields that the report shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    comm: Vec<u8>,
    state: char,
    process_group: u32,
    session: u32,
    pub(crate) starttime_ticks: u64,
}

/// Reads the file; none when the process is gone.
pub(crate) fn of(pid: u32) -> Option<Stat> {
    parse(&read::bytes(&format!("/proc/{pid}/stat")).ok()?)
}

/// The name is whatever the process chose, parentheses and newlines included, so the rest begins
/// behind the last parenthesis.
fn parse(text: &[u8]) -> Option<Stat> {
    let open = text.iter().position(|byte| *byte == b'(')?;
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let mut fields = str::from_utf8(text.get(close + 1..)?).ok()?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let process_group = fields.nth(1)?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let starttime_ticks = fields.nth(15)?.parse().ok()?;
    Some(Stat { comm: text.get(open + 1..close)?.to_vec(), state, process_group, session, starttime_ticks })
}

/// One process of a box, with what can still be read of it.
pub(crate) fn describe(pid: u32) -> BoxProcess {
    let stat = of(pid);
    BoxProcess {
        pid,
        starttime_ticks: stat.as_ref().map(|s| s.starttime_ticks),
        comm: stat.as_ref().map(|s| shown(OsStr::from_bytes(&s.comm))),
        session: stat.as_ref().map(|s| s.session),
        process_group: stat.as_ref().map(|s| s.process_group),
        state: stat.map(|s| s.state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_made_to_confuse_does_not() {
        let text = b"71 (x) Z 1 1\nUid:\t0) S 1 70 69 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 5021 1 2 3\n";
        let stat = parse(text).unwrap();
        assert_eq!((stat.state, stat.process_group, stat.session, stat.starttime_ticks), ('S', 70, 69, 5021));
        assert_eq!(stat.comm, b"x) Z 1 1\nUid:\t0");
    }

    #[test]
    fn our_own_file_is_understood() {
        assert!(of(std::process::id()).is_some_and(|stat| stat.starttime_ticks > 0));
    }
}
