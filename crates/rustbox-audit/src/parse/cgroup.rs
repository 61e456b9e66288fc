//! `/proc/<pid>/cgroup`.

use super::mountinfo::Hierarchy;
use super::number;

/// One line: the place of the process in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupLine {
    /// Which hierarchy; none for a v1 hierarchy without controllers or name.
    pub hierarchies: Vec<Hierarchy>,
    /// The path below the reader's cgroup namespace root. Bytes: whoever may make cgroups chooses them.
    pub path: Vec<u8>,
    /// The line as it was read.
    pub text: Vec<u8>,
}

/// What the kernel appends to the path on the `0::` line once the directory is removed.
const DELETED: &[u8] = b" (deleted)";

impl CgroupLine {
    /// Whether the process sits at `path`, or below it.
    #[must_use]
    pub fn is_within(&self, path: &[u8]) -> bool {
        let own = self.path.strip_suffix(DELETED).unwrap_or(&self.path);
        own.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }
}

/// Parses the file; none when any line is torn, since half an answer would read as "not in that cgroup".
///
/// A path may hold colons, but no line end: the kernel refuses to make such a directory.
#[must_use]
pub fn parse_cgroup(text: &[u8]) -> Option<Vec<CgroupLine>> {
    let body = text.strip_suffix(b"\n")?;
    body.split(|byte| *byte == b'\n').map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<CgroupLine> {
    let mut parts = line.splitn(3, |byte| *byte == b':');
    let id: u32 = number(parts.next()?)?;
    let controllers = parts.next()?;
    let path = parts.next().filter(|path| path.starts_with(b"/"))?;
    let hierarchies = if controllers.is_empty() {
        if id == 0 { vec![Hierarchy::Unified] } else { Vec::new() }
    } else {
        controllers.split(|byte| *byte == b',').map(Hierarchy::v1).collect::<Option<_>>()?
    };
    Some(CgroupLine { hierarchies, path: path.to_vec(), text: line.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Linux 6.18, hybrid.
    const HYBRID: &[u8] = b"9:name=systemd:/\n8:pids:/rustbox-a\n7:blkio:/\n6:freezer:/\n5:devices:/\n\
        4:memory:/rustbox-a\n3:cpuset:/\n2:cpuacct:/\n1:cpu:/\n0::/rustbox-a\n";
    // Linux 6.1, v2 alone; and with the mark of a removed directory, as `proc_cgroup_show` of kernel/cgroup/cgroup.c adds
    // it.
    const V2_LIVING: &[u8] = b"0::/rustbox-a\n";
    const V2: &[u8] = b"0::/rustbox-a (deleted)\n";
    // Linux 6.1, v1 with controllers mounted together, and no v2 mount.
    const V1: &[u8] = b"4:name=systemd:/\n3:pids:/\n2:memory:/rustbox-a\n1:cpu,cpuacct:/rustbox-a\n0::/\n";
    // Made up: a path with a colon, and one that only begins like the box's.
    const MADE_UP: &[u8] =
        b"4:cpu,cpuacct:/rustbox-a/x:y\n3:memory:/\n2:pids:/rustbox-ab\n1:name=systemd:/init.scope\n";

    fn within(text: &[u8], hierarchy: &Hierarchy) -> bool {
        let lines = parse_cgroup(text).unwrap();
        let line = lines.iter().find(|line| line.hierarchies.contains(hierarchy)).unwrap();
        line.is_within(b"/rustbox-a")
    }

    #[test]
    fn all_three_shapes_are_read() {
        assert!(within(HYBRID, &Hierarchy::Unified) && within(HYBRID, &Hierarchy::v1(b"memory").unwrap()));
        assert!(!within(HYBRID, &Hierarchy::v1(b"cpu").unwrap()));
        assert!(within(V2, &Hierarchy::Unified));
        assert!(within(V2_LIVING, &Hierarchy::Unified));
        assert!(within(V1, &Hierarchy::v1(b"cpuacct").unwrap()) && within(V1, &Hierarchy::v1(b"memory").unwrap()));
        assert!(!within(V1, &Hierarchy::v1(b"pids").unwrap()) && !within(V1, &Hierarchy::Unified));
        assert!(within(MADE_UP, &Hierarchy::v1(b"cpuacct").unwrap()));
        assert!(!within(MADE_UP, &Hierarchy::v1(b"memory").unwrap()));
    }

    #[test]
    fn a_longer_name_is_another_cgroup() {
        assert!(!within(MADE_UP, &Hierarchy::v1(b"pids").unwrap()));
    }

    #[test]
    fn a_torn_text_is_refused() {
        for bad in [&b""[..], b"0::/a", b"0::\n", b"0:/\n", b"x::/\n", b"8:pids:/a\n\n"] {
            assert_eq!(parse_cgroup(bad), None, "{}", bad.escape_ascii());
        }
    }
}
