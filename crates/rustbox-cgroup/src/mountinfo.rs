//! Where cgroup file systems are mounted: a pure reader of `/proc/<pid>/mountinfo` (proc(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::layout::{Control, ControlSet};

/// One cgroup mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The mount point.
    pub(crate) path: PathBuf,
    /// Controllers in the mount's options; always empty on v2, where `cgroup.controllers` tells.
    pub(crate) controllers: ControlSet,
    /// Whether the mount has the option `favordynmods` (Linux 6.0).
    pub(crate) favordynmods: bool,
}

/// Every cgroup mount that this process sees, in the kernel's order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mounts {
    /// The first cgroup2 mount.
    pub(crate) v2: Option<Mount>,
    /// Mounts of cgroup v1 hierarchies with or without controllers (`name=systemd`).
    pub(crate) v1: Vec<Mount>,
}

/// Reads the whole text. A line that is not of the known form is no cgroup mount.
pub(crate) fn parse(text: &[u8]) -> Mounts {
    let mut mounts = Mounts::default();
    text.split(|b| *b == b'\n').for_each(|line| mounts.add(line));
    mounts
}

impl Mounts {
    /// Takes one line more. Other file systems are most of them; their paths are never decoded.
    pub(crate) fn add(&mut self, line: &[u8]) {
        match parse_line(line) {
            Some((true, mount)) => {
                self.v2.get_or_insert(mount);
            }
            Some((false, mount)) => self.v1.push(mount),
            None => {}
        }
    }

    /// Whether every control has a home by now. The first one counts, so that no line that follows can change it.
    pub(crate) fn is_complete(&self) -> bool {
        let has = |control| self.v1.iter().any(|mount| mount.controllers.contains(control));
        self.v2.is_some() && Control::ALL.into_iter().all(has)
    }
}

/// `36 35 98:0 /root /mount/point rw,noatime [optional fields...] - type source options`
fn parse_line(line: &[u8]) -> Option<(bool, Mount)> {
    let separator = line.windows(3).position(|w| w == b" - ")?;
    let (head, tail) = (line.get(..separator)?, line.get(separator + 3..)?);
    let mut tail = tail.split(|b| *b == b' ');
    let is_v2 = match tail.next()? {
        b"cgroup" => false,
        b"cgroup2" => true,
        _ => return None,
    };
    let options = tail.nth(1).unwrap_or_default();
    let mut mount = Mount {
        path: PathBuf::from(OsString::from_vec(unescape(head.split(|b| *b == b' ').nth(4)?))),
        controllers: ControlSet::EMPTY,
        favordynmods: false,
    };
    for option in options.split(|b| *b == b',') {
        mount.favordynmods |= option == b"favordynmods";
        if !is_v2 {
            mount.controllers = mount.controllers.with_name(option);
        }
    }
    Some((is_v2, mount))
}

/// Undoes the kernel's escapes of space, tab, newline and backslash: `\040` and so on.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, others)) = rest.split_first() {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = include_str!("../tests/fixtures/mountinfo-hybrid");
    const V1: &str = include_str!("../tests/fixtures/mountinfo-v1-systemd");
    const V2: &str = include_str!("../tests/fixtures/mountinfo-v2");

    fn path_of(mounts: &Mounts, control: Control) -> Option<&str> {
        mounts.v1.iter().find(|m| m.controllers.contains(control)).and_then(|m| m.path.to_str())
    }

    #[test]
    fn a_hybrid_host_shows_both_versions() {
        let mounts = parse(HYBRID.as_bytes());
        assert_eq!(mounts.v2.as_ref().and_then(|m| m.path.to_str()), Some("/sys/fs/cgroup/unified"));
        assert_eq!(path_of(&mounts, Control::Memory), Some("/sys/fs/cgroup/memory"));
        assert_eq!(path_of(&mounts, Control::CpuSet), Some("/sys/fs/cgroup/cpuset"));
        assert_eq!(mounts.v1.len(), 9);
    }

    #[test]
    fn the_lines_after_the_last_control_change_nothing_that_is_used() {
        let later =
            "50 23 0:32 / /elsewhere rw - cgroup cgroup rw,memory\n51 23 0:38 / /other rw - cgroup2 cgroup2 rw\n";
        let text = format!("{HYBRID}{later}");
        let mut mounts = Mounts::default();
        let read = text.lines().take_while(|line| {
            mounts.add(line.as_bytes());
            !mounts.is_complete()
        });
        assert!(read.count() < HYBRID.lines().count());
        let whole = parse(text.as_bytes());
        assert!(mounts.is_complete() && whole.is_complete());
        assert_eq!(mounts.v2, whole.v2);
        for control in Control::ALL {
            assert_eq!(path_of(&mounts, control), path_of(&whole, control));
        }
        // Without one of them all has to be read.
        assert!(!parse(V1.as_bytes()).is_complete() && !parse(V2.as_bytes()).is_complete());
    }

    #[test]
    fn controllers_that_share_a_v1_mount_are_all_found_there() {
        let mounts = parse(V1.as_bytes());
        assert_eq!(mounts.v2, None);
        assert_eq!(path_of(&mounts, Control::Cpu), Some("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(path_of(&mounts, Control::CpuAcct), Some("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(path_of(&mounts, Control::Pids), Some("/sys/fs/cgroup/pids"));
    }

    #[test]
    fn a_pure_v2_host_shows_no_v1() {
        let mounts = parse(V2.as_bytes());
        let v2 = mounts.v2.expect("a v2 mount");
        assert_eq!(v2.path.to_str(), Some("/sys/fs/cgroup"));
        assert!(v2.favordynmods);
        assert!(mounts.v1.is_empty());
    }

    #[test]
    fn escaped_mount_points_and_optional_fields_are_read() {
        let line = br"40 31 0:37 / /mnt/a\040b\134c rw shared:9 master:1 - cgroup cgroup rw,pids";
        let mounts = parse(line);
        assert_eq!(path_of(&mounts, Control::Pids), Some(r"/mnt/a b\c"));
    }

    #[test]
    fn a_mount_point_cannot_pass_itself_off_as_a_cgroup() {
        let line = br"40 31 0:37 / /mnt/-\040cgroup2 rw - tmpfs cgroup2 rw";
        assert_eq!(parse(line), Mounts::default());
        for broken in [&b""[..], b" - ", b"1 2 3 - cgroup2", b"\n\n", b"40 31 0:37 / - cgroup2 cgroup2 rw"] {
            assert_eq!(parse(broken).v1, [], "{broken:?}");
            assert_eq!(parse(broken).v2, None, "{broken:?}");
        }
    }
}
