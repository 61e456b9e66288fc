//! Runs between `clone3` and `execve`: no allocation, no lock, no `tracing`, no panic.
//!
//! Compares the mounts that there are with those that were ordered, by `/proc/self/mountinfo`, before anything is
//! forked: what is missing (a cover of `/proc`), what is weaker (a bind that is writable), and what nobody ordered
//! (the host's root, which is still there when it was not detached). [`expected`] is for the parent, and allocates.

use std::sync::atomic::{AtomicU8, Ordering};

use rustbox_core::Stage;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::child::Failure;
use crate::proc_mask;
use crate::root_plan::{Op, UNORDERED};

const READ_ONLY: u8 = 1;
const NO_SUID: u8 = 2;
const NO_DEV: u8 = 4;
const NO_EXEC: u8 = 8;
/// The options of mountinfo that say so.
const WORDS: [(&[u8], u8); 4] = [(b"ro", READ_ONLY), (b"nosuid", NO_SUID), (b"nodev", NO_DEV), (b"noexec", NO_EXEC)];

const WANTED: u8 = 0;
const SEEN: u8 = 1;
const SKIPPED: u8 = 2;

/// A mount that was ordered.
#[derive(Debug)]
pub(crate) struct Expected {
    /// Where, as mountinfo writes it.
    point: Vec<u8>,
    /// Which operation makes it, and which of its parts: 0 is the operation's own.
    op: u32,
    part: u32,
    /// What it must not be without.
    attributes: u8,
    /// Its file system, where that is ours to say.
    filesystem: Option<&'static [u8]>,
    /// Options of the file system that must be there.
    options: &'static [&'static [u8]],
    /// Whether what is mounted below its source comes along, with its attributes.
    recursive: bool,
    state: AtomicU8,
}

/// Longest line of mountinfo that is understood: two paths of the longest kind, and options.
const LINE_MAX: usize = 16 << 10;

/// What the operations make, the root first.
pub(crate) fn expected(ops: &[Op]) -> Vec<Expected> {
    let tmpfs = Some(&b"tmpfs"[..]);
    let mut all = Vec::with_capacity(ops.len() + proc_mask::MASKS.len());
    let mut add = |point: &[&[u8]], (op, part), attributes, filesystem, options, recursive| {
        let point = if point.is_empty() { b"/".to_vec() } else { escaped(point) };
        let state = AtomicU8::new(WANTED);
        all.push(Expected { point, op, part, attributes, filesystem, options, recursive, state });
    };
    let root: &[&[u8]] = &[b"size=1024k", b"nr_inodes=1024", b"mode=755"];
    add(&[], (UNORDERED - 1, 0), READ_ONLY | NO_SUID | NO_DEV, tmpfs, root, false);
    for (op, number) in ops.iter().zip(0..) {
        match op {
            Op::Directory { .. } | Op::Symlink { .. } | Op::Text { .. } | Op::SealSystem => {}
            Op::System { path, .. } => {
                add(&[path.to_bytes()], (number, 0), READ_ONLY | NO_SUID | NO_DEV, None, &[], true);
            }
            Op::Bind { place, idmap, .. } => {
                let access = if idmap.is_some() { 0 } else { READ_ONLY };
                let names: Vec<&[u8]> = place.names.iter().map(|name| name.to_bytes()).collect();
                add(&names, (number, 0), access | NO_SUID | NO_DEV, None, &[], true);
            }
            Op::OwnTmpfs { path, .. } => add(&[path.to_bytes()], (number, 0), NO_SUID | NO_DEV, tmpfs, &[], false),
            Op::Tmpfs { place, .. } => {
                let names: Vec<&[u8]> = place.names.iter().map(|name| name.to_bytes()).collect();
                add(&names, (number, 0), NO_SUID | NO_DEV, tmpfs, &[], false);
            }
            Op::Dev => add(&[b"dev"], (number, 0), READ_ONLY | NO_SUID | NO_EXEC, tmpfs, &[], false),
            Op::Proc => {
                let sealed = READ_ONLY | NO_SUID | NO_DEV | NO_EXEC;
                add(&[b"proc"], (number, 0), sealed, Some(b"proc"), &[b"hidepid=invisible"], false);
                for (mask, part) in proc_mask::MASKS.iter().zip(1..) {
                    add(&[mask.path.to_bytes()], (number, part), READ_ONLY | NO_SUID | NO_EXEC, tmpfs, &[], false);
                }
            }
        }
    }
    all
}

/// A path as mountinfo writes it: with four characters in octal.
fn escaped(names: &[&[u8]]) -> Vec<u8> {
    let mut text = Vec::new();
    for name in names {
        text.push(b'/');
        for byte in *name {
            match byte {
                b' ' | b'\t' | b'\n' | b'\\' => text.extend(format!("\\{byte:03o}").bytes()),
                _ => text.push(*byte),
            }
        }
    }
    text
}

/// Takes note that a part of an operation had nothing to mount, and was allowed to.
pub(crate) fn skip(mounts: &[Expected], op: u32, part: u32) {
    let skipped = mounts.iter().find(|mount| (mount.op, mount.part) == (op, part));
    skipped.inspect(|mount| mount.state.store(SKIPPED, Ordering::Relaxed));
}

/// Reads the mounts of this process and compares.
pub(crate) fn verify(mounts: &[Expected]) -> Result<(), Failure> {
    let at = Failure::at(Stage::ReadBack);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(CWD, c"/proc/self/mountinfo", flags, Mode::empty()).map_err(&at)?;
    let mut buffer = [0_u8; LINE_MAX];
    let mut filled = 0;
    loop {
        let free = buffer.get_mut(filled..).filter(|free| !free.is_empty()).ok_or_else(|| at(Errno::TOOBIG))?;
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *free)).map_err(&at)?;
        if length == 0 {
            break;
        }
        filled += length;
        let mut done = 0;
        while let Some(line) = buffer.get(done..filled).and_then(|rest| rest.split_inclusive(|b| *b == b'\n').next()) {
            let Some(text) = line.strip_suffix(b"\n") else { break };
            compare(mounts, text)?;
            done += line.len();
        }
        buffer.copy_within(done..filled, 0);
        filled -= done;
    }
    match mounts.iter().find(|mount| mount.state.load(Ordering::Relaxed) == WANTED) {
        None if filled == 0 => Ok(()),
        None => Err(at(Errno::BADMSG)),
        Some(missing) => Err(Failure { stage: Stage::ReadBack, errno: Errno::NOENT, item: missing.op }),
    }
}

fn compare(mounts: &[Expected], line: &[u8]) -> Result<(), Failure> {
    let failed = |errno, item| Failure { stage: Stage::ReadBack, errno, item };
    let found = Found::parse(line).ok_or_else(|| failed(Errno::BADMSG, UNORDERED))?;
    let here = || mounts.iter().filter(|mount| mount.point == found.point);
    let open = |mount: &&Expected| mount.state.load(Ordering::Relaxed) == WANTED;
    if let Some(mount) = here().filter(open).find(|mount| mount.is(&found)) {
        mount.state.store(SEEN, Ordering::Relaxed);
        return Ok(());
    }
    if let Some(weaker) = here().find(open) {
        return Err(failed(Errno::PERM, weaker.op));
    }
    // What came along with a bind.
    let above = |mount: &&Expected| mount.recursive && is_below(found.point, &mount.point);
    match mounts.iter().filter(above).max_by_key(|mount| mount.point.len()) {
        Some(bind) if found.attributes & bind.attributes == bind.attributes => Ok(()),
        Some(bind) => Err(failed(Errno::PERM, bind.op)),
        None => Err(failed(Errno::PERM, UNORDERED)),
    }
}

fn is_below(path: &[u8], parent: &[u8]) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// One line of mountinfo.
struct Found<'a> {
    point: &'a [u8],
    attributes: u8,
    filesystem: &'a [u8],
    options: &'a [u8],
}

impl<'a> Found<'a> {
    /// `ID PARENT DEVICE ROOT POINT ATTRIBUTES [TAG...] - FILESYSTEM SOURCE OPTIONS`
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ');
        let point = words.nth(4)?;
        let mut attributes = 0;
        for word in words.next()?.split(|byte| *byte == b',') {
            let known = WORDS.iter().find(|(name, _)| *name == word);
            attributes |= known.map_or(0, |(_, bit)| *bit);
        }
        words.find(|word| *word == b"-")?;
        Some(Self { point, attributes, filesystem: words.next()?, options: words.nth(1)? })
    }
}

impl Expected {
    fn is(&self, found: &Found<'_>) -> bool {
        let has = |option: &&[u8]| found.options.split(|byte| *byte == b',').any(|word| word == *option);
        found.attributes & self.attributes == self.attributes
            && self.filesystem.is_none_or(|name| name == found.filesystem)
            && self.options.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a real box.
    const PROC: &[u8] = b"76 64 0:45 / /proc ro,nosuid,nodev,noexec,relatime shared:1 - proc none rw,hidepid=invisible";

    #[test]
    fn a_real_line_is_understood() {
        let found = Found::parse(PROC).unwrap();
        assert_eq!(
            (found.point, found.filesystem, found.options),
            (&b"/proc"[..], &b"proc"[..], &b"rw,hidepid=invisible"[..])
        );
        assert_eq!(found.attributes, READ_ONLY | NO_SUID | NO_DEV | NO_EXEC);
        assert!(Found::parse(b"76 64 0:45 / /proc ro - proc none").is_none());
    }

    #[test]
    fn weaker_missing_and_unordered_mounts_are_told_apart() {
        let mounts = expected(&[Op::Proc]);
        assert!(compare(&mounts, PROC).is_ok());
        // A second time it is one that nobody ordered.
        assert_eq!(compare(&mounts, PROC).unwrap_err().item, UNORDERED);
        let weaker = b"76 64 0:45 / / rw,relatime - tmpfs none rw,size=1024k,nr_inodes=1024,mode=755";
        assert_eq!(compare(&mounts, weaker).unwrap_err().item, UNORDERED - 1);
        assert_eq!(compare(&mounts, b"1 2 8:1 / /home rw - ext4 /dev/sda rw").unwrap_err().item, UNORDERED);
    }

    #[test]
    fn what_lies_below_a_bind_has_its_attributes_or_is_refused() {
        let path = c"usr dir".to_owned();
        let system = Op::System {
            source: path.clone(),
            path,
            kind: crate::root_plan::Kind::Directory,
            missing: crate::root_plan::Missing::Fail,
        };
        let mounts = expected(&[system]);
        let sealed = b"1 2 8:1 / /usr\\040dir/lib ro,nosuid,nodev - ext4 /dev/sda rw";
        assert!(compare(&mounts, sealed).is_ok());
        assert_eq!(
            compare(&mounts, b"1 2 8:1 / /usr\\040dir/lib rw,nosuid,nodev - ext4 /dev/sda rw").unwrap_err().item,
            0
        );
        assert_eq!(
            compare(&mounts, b"1 2 8:1 / /usr\\040dirt ro,nosuid,nodev - ext4 x rw").unwrap_err().item,
            UNORDERED
        );
    }
}
