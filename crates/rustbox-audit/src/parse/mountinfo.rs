//! `/proc/self/mountinfo`: where the cgroup hierarchies are mounted.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One cgroup hierarchy, by a name that every process of the host shares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hierarchy {
    /// cgroup v2: the `0::` line.
    Unified,
    /// cgroup v1: a controller such as `memory`, or `name=systemd`.
    V1(String),
}

impl Hierarchy {
    /// The v1 hierarchy of a controller, or of `name=...`.
    #[must_use]
    pub fn v1(controller: &[u8]) -> Option<Self> {
        std::str::from_utf8(controller).ok().filter(|name| !name.is_empty()).map(|name| Self::V1(name.to_owned()))
    }
}

/// A mounted cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMount {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Which directory of the hierarchy is mounted there; `/` outside containers.
    pub root: Vec<u8>,
    /// One name for v2, one per controller for v1.
    pub hierarchies: Vec<Hierarchy>,
}

/// The cgroup mounts in the file (proc_pid_mountinfo(5)). Lines of other file systems are passed over.
#[must_use]
pub fn parse_cgroup_mounts(text: &[u8]) -> Vec<CgroupMount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// Mount options that can stand beside the controllers in a v1 super block's options.
const NOT_CONTROLLERS: [&[u8]; 7] =
    [b"rw", b"ro", b"xattr", b"noprefix", b"clone_children", b"cpuset_v2_mode", b"favordynmods"];

fn parse_line(line: &[u8]) -> Option<CgroupMount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = unescaped(fields.nth(3)?);
    let mount_point = PathBuf::from(std::ffi::OsString::from_vec(unescaped(fields.next()?)));
    let mut after = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = after.next()?;
    let hierarchies = match kind {
        b"cgroup2" => vec![Hierarchy::Unified],
        b"cgroup" => {
            let options = after.nth(1)?.split(|byte| *byte == b',');
            let named = options.filter(|name| !NOT_CONTROLLERS.contains(name) && !name.starts_with(b"release_agent"));
            named.filter_map(Hierarchy::v1).collect()
        }
        _ => return None,
    };
    Some(CgroupMount { mount_point, root, hierarchies })
}

/// Undoes the kernel's `\040`, `\011`, `\012` and `\134`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        if let (b'\\', Some([a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'])) = (*first, tail.get(..3)) {
            out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = tail.get(3..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // Linux 6.18, hybrid; the last lines are made up after proc_pid_mountinfo(5).
    const TEXT: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
        42 31 0:39 /docker/a\\040b /mnt/a\\012b rw shared:1 master:2 - cgroup cgroup rw,cpu,cpuacct\n";

    // Linux 6.1, v1 alone.
    const V1: &[u8] = b"23 22 0:21 / /sys/fs/cgroup rw,relatime - tmpfs t rw,inode64\n\
        24 23 0:22 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        25 23 0:23 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        26 23 0:24 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
        27 23 0:25 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n";
    // Linux 6.1, v2 alone.
    const V2: &[u8] = b"23 22 0:21 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn hosts_with_one_interface_are_read() {
        let points = |text| {
            let mounts = parse_cgroup_mounts(text);
            mounts
                .into_iter()
                .map(|mount| (mount.mount_point.display().to_string(), mount.hierarchies.len()))
                .collect::<Vec<_>>()
        };
        let below = |name: &str, controllers| (format!("/sys/fs/cgroup/{name}"), controllers);
        assert_eq!(points(V1), [below("cpu,cpuacct", 2), below("memory", 1), below("pids", 1), below("systemd", 1)]);
        assert_eq!(points(V2), [("/sys/fs/cgroup".to_owned(), 1)]);
    }

    #[test]
    fn hierarchies_are_named_by_their_controllers() {
        let mounts = parse_cgroup_mounts(TEXT);
        let names: Vec<_> = mounts.iter().map(|mount| mount.hierarchies.clone()).collect();
        let v1 = |name: &[u8]| Hierarchy::v1(name).unwrap();
        assert_eq!(
            names,
            [
                vec![v1(b"memory")],
                vec![v1(b"name=systemd")],
                vec![Hierarchy::Unified],
                vec![v1(b"cpu"), v1(b"cpuacct")]
            ]
        );
        assert_eq!(mounts[3].root, b"/docker/a b");
        assert_eq!(mounts[3].mount_point, PathBuf::from("/mnt/a\nb"));
    }
}
