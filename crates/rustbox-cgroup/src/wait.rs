//! Waiting until a box is empty, with a deadline.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::Error;
use crate::group::{BoxCgroup, Origin, Watch};
use crate::layout::Version;
use crate::oom::poll_bits;
use crate::parse;

/// First and longest time between two looks on v1, which has no event for an empty cgroup.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(8));

/// How waiting for an empty box ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Emptied {
    /// The kernel says that no live process is in it.
    Empty {
        /// How long it took.
        after: Duration,
    },
    /// Somebody else removed the directory, which the kernel allows only when it is empty.
    Removed {
        /// How long it took to notice.
        after: Duration,
    },
    /// The deadline passed.
    Populated {
        /// How long we waited.
        after: Duration,
        /// Who is left, as our PID namespace numbers them. None when it cannot be read.
        members: Option<Vec<u32>>,
    },
}

impl Emptied {
    /// Whether no process is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !matches!(self, Self::Populated { .. })
    }
}

impl BoxCgroup {
    /// Waits until no live process is in the box, at most for `deadline`.
    ///
    /// Zombies are not waited for: they are in [`Self::pids_current`] until their parent reaps them, and that may be
    /// the caller. On v2 and hybrid it sleeps in `poll` on `cgroup.events`: one `pread` when the box is empty already,
    /// two calls per change else. On v1 it looks again after 0.5 to 8 ms.
    ///
    /// # Errors
    /// When the kernel's answer cannot be read. A passed deadline is no error but [`Emptied::Populated`].
    pub fn wait_empty(&self, deadline: Duration) -> Result<Emptied, Error> {
        let start = Instant::now();
        let mut look_again = LOOK_AGAIN.0;
        loop {
            match self.is_populated() {
                Ok(false) => return Ok(Emptied::Empty { after: start.elapsed() }),
                Ok(true) => {}
                Err(error) if error.is_gone() => return Ok(Emptied::Removed { after: start.elapsed() }),
                Err(error) => return Err(error),
            }
            let left = deadline.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(Emptied::Populated { after: start.elapsed(), members: self.members().ok() });
            }
            match self.v2() {
                Some(dir) if self.origin == Origin::Created => {
                    let events = self.files.events.open(dir, OFlags::RDONLY)?;
                    wait_for(&mut [PollFd::from_borrowed_fd(events, PollFlags::PRI)], left)?;
                }
                _ => pause(look_again.min(left))?,
            }
            look_again = LOOK_AGAIN.1.min(look_again * 2);
        }
    }

    /// What to poll for the box becoming empty: `cgroup.events`, which then reads `populated 0`. None on v1.
    ///
    /// Costs nothing: the file is open since the creation. It becomes unready again when it is read, by
    /// [`Self::wait_empty`] with a deadline of zero, say.
    #[must_use]
    pub fn populated_fd(&self) -> Option<Watch<'_>> {
        let fd = self.files.events.open(self.v2()?, OFlags::RDONLY).ok()?;
        Some(Watch { fd, events: poll_bits(PollFlags::PRI) })
    }

    /// Whether a live process is in any directory that counts.
    fn is_populated(&self) -> Result<bool, Error> {
        let v2 = self.v2();
        if let Some(dir) = v2
            && self.files.events.text(dir, |text| parse::keyed(text, "populated"))? > 0
        {
            return Ok(true);
        }
        if v2.is_some() && self.origin == Origin::Created {
            // The init is born in the v2 directory, and everything else from it.
            return Ok(false);
        }
        for dir in self.dirs.iter().filter(|dir| dir.version == Version::V1) {
            match dir.procs() {
                Ok(members) if members.is_empty() => {}
                Ok(_) => return Ok(true),
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// Sleeps without touching a descriptor.
pub(crate) fn pause(time: Duration) -> Result<(), Error> {
    wait_for(&mut [], time)
}

/// Polls once; an interrupting signal ends it early, since every caller looks again.
fn wait_for(fds: &mut [PollFd<'_>], time: Duration) -> Result<(), Error> {
    // A deadline beyond the kernel's range is as good as none.
    let timeout = Timespec::try_from(time).ok();
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(Error::Poll { source: e.into() }),
    }
}
