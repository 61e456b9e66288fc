//! Removing the empty cgroup directories of a box that nobody owns.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::act::ActionOutcome;
use crate::describe::shown_path;
use crate::pause::pause;
use crate::registry::BoxMarks;

/// A process that was killed leaves its cgroup a moment after its pidfd is ready.
const RETRY: Duration = Duration::from_millis(5);
/// Levels of directories below a box's cgroup that are removed with it.
const DEPTH_MAX: usize = 8;

/// Removes the directory if it is one of the box's, and if nobody holds the lock on it.
///
/// The kernel refuses to remove a cgroup that has members, so this cannot lose a process. The lock is for the other
/// danger: a new box of the same name whose directory is still empty. Its owner holds `flock` on the directory.
pub(crate) fn remove_cgroup(marks: &BoxMarks, directory: &str, deadline: Instant) -> (ActionOutcome, String) {
    let Some(mark) = marks.cgroups.iter().find(|mark| shown_path(&mark.directory) == directory) else {
        return (ActionOutcome::NothingToDo, "not a directory of this box".to_owned());
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = match rustix::fs::openat(CWD, &mark.directory, flags, Mode::empty()) {
        Ok(held) => held,
        Err(Errno::NOENT) => return (ActionOutcome::NothingToDo, "gone already".to_owned()),
        Err(errno) => return (ActionOutcome::Refused, format!("open: {errno}")),
    };
    match rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return (ActionOutcome::Refused, "somebody holds the lock on it".to_owned()),
        Err(errno) => return (ActionOutcome::Refused, format!("lock: {errno}")),
    }
    loop {
        match remove_tree(&mark.directory, DEPTH_MAX) {
            Ok(()) => return (ActionOutcome::Done, "removed".to_owned()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => pause(RETRY),
            Err(error) => return (ActionOutcome::Refused, format!("remove: {error}")),
        }
    }
}

fn remove_tree(directory: &Path, depth: usize) -> io::Result<()> {
    if depth > 0 {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                remove_tree(&entry.path(), depth - 1)?;
            }
        }
    }
    fs::remove_dir(directory)
}
