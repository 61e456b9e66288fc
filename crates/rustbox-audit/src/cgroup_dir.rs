//! Reading the boxes' own cgroup directories and paths.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::parse::number;
use crate::reading::{Reading, Unread};
use crate::registry::{Phase, Registry};
use crate::snapshot::{CgroupSeen, CgroupState, PathSeen};

/// Levels of directories below a box's cgroup that are read. A payload has no cgroup file system, so there are none;
/// what is deeper was made by an administrator, and its members keep their other marks.
const DEPTH_MAX: usize = 8;

/// Room for the members of an ordinary box.
const READ_BYTES: usize = 16 << 10;
/// A directory's own two names.
const LINKS_WITHOUT_CHILDREN: u64 = 2;
const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Looks at every cgroup directory of every box: who is in them now, without a look at the host.
#[must_use]
pub fn read_cgroups(registry: &Registry) -> Vec<CgroupSeen> {
    let mut seen = Vec::new();
    for (box_index, marks) in registry.boxes.iter().enumerate() {
        if marks.phase == Phase::EarlierBoot {
            continue;
        }
        for (mark_index, mark) in marks.cgroups.iter().enumerate() {
            seen.push(CgroupSeen { box_index, mark_index, state: read_cgroup_directory(&mark.directory) });
        }
    }
    seen
}

/// Looks at one cgroup directory and those below it.
pub(crate) fn read_cgroup_directory(directory: &Path) -> Reading<CgroupState> {
    let opened = rustix::fs::openat(CWD, directory, OPEN, Mode::empty()).map_err(unread)?;
    let inode = rustix::fs::fstat(&opened).map_err(unread)?.st_ino;
    let mut state = CgroupState { inode, ..CgroupState::default() };
    collect_members(opened.as_fd(), DEPTH_MAX, &mut state, &mut Vec::with_capacity(READ_BYTES))?;
    state.members.sort_unstable();
    state.members.dedup();
    Ok(state)
}

fn collect_members(
    directory: BorrowedFd<'_>,
    depth: usize,
    state: &mut CgroupState,
    text: &mut Vec<u8>,
) -> Reading<()> {
    read_members(directory, text)?;
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match number::<u32>(line).ok_or(Unread::MALFORMED)? {
            0 => state.foreign_members += 1,
            pid => state.members.push(pid),
        }
    }
    // The kernel counts a directory's subdirectories in its links (`kernfs_refresh_inode` in fs/kernfs/inode.c), which
    // is cheaper than listing all the files that a cgroup has.
    if depth == 0 || rustix::fs::fstat(directory).map_err(unread)?.st_nlink <= LINKS_WITHOUT_CHILDREN {
        return Ok(());
    }
    for entry in Dir::read_from(directory).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        if entry.file_type() != FileType::Directory || matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let below = rustix::fs::openat(directory, entry.file_name(), OPEN, Mode::empty()).map_err(unread);
        match below.and_then(|below| collect_members(below.as_fd(), depth - 1, state, text)) {
            Ok(()) | Err(Unread::Vanished) => {}
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

/// Into room that is there already: growing it from nothing takes several reads of what one would give.
fn read_members(directory: BorrowedFd<'_>, text: &mut Vec<u8>) -> Reading<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, c"cgroup.procs", flags, Mode::empty()).map_err(unread)?;
    text.clear();
    loop {
        text.reserve(READ_BYTES);
        // A sequence file gives a page at a time: only an empty read is the end.
        if rustix::io::read(&file, rustix::buffer::spare_capacity(text)).map_err(unread)? == 0 {
            return Ok(());
        }
    }
}

/// Looks whether the boxes' directories, mount points and records are there, without following a link.
pub(crate) fn read_paths(registry: &Registry) -> Vec<PathSeen> {
    let mut seen = Vec::new();
    for (box_index, marks) in registry.boxes.iter().enumerate() {
        // A live box may have whatever it likes.
        if matches!(marks.phase, Phase::Live | Phase::Unknown) {
            continue;
        }
        let paths = marks.paths.iter().enumerate().map(|(index, path)| (Some(index), path));
        for (path_index, path) in paths.chain(marks.record.iter().map(|path| (None, path))) {
            let state = fs::symlink_metadata(path).map(|metadata| metadata.ino());
            let state = state.map_err(|error| Errno::from_io_error(&error).map_or(Unread::Failed(0), unread));
            seen.push(PathSeen { box_index, path_index, state });
        }
    }
    seen
}

fn unread(errno: Errno) -> Unread {
    // The directory was removed while it was open.
    if errno == Errno::NODEV { Unread::Vanished } else { Unread::from(errno) }
}
