//! The kernel's announcement that a box ran out of memory.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::OFlags;
use rustix::io::{Errno, read};

use crate::error::Error;
use crate::group::{BoxCgroup, Watch};
use crate::layout::{Control, Version};

impl BoxCgroup {
    /// What to poll for the box running out of memory: `memory.events` on v2, an eventfd on v1. None without memory
    /// control, or when the kernel refuses the event; [`Self::oom_kills`] then still tells at the end.
    ///
    /// On v2 it also becomes ready when the box merely reaches its limit; in both cases ask [`Self::oom_happened`],
    /// which makes it unready again. On v1 the removal of the directory makes it ready as well.
    ///
    /// The first call costs one `open` on v2 and five calls on v1, later ones nothing.
    #[must_use]
    pub fn oom_event_fd(&self) -> Option<Watch<'_>> {
        let dir = self.home(Control::Memory)?;
        if dir.version == Version::V2 {
            let fd = self.files.memory_events.open(dir, OFlags::RDONLY).ok()?;
            return Some(Watch { fd, events: poll_bits(PollFlags::PRI) });
        }
        let event = self.files.oom_eventfd.get_or_init(|| {
            let registered = self.register_oom_event();
            registered.inspect_err(|error| tracing::debug!(%error, "no out-of-memory event")).ok()
        });
        event.as_ref().map(|fd| Watch { fd: fd.as_fd(), events: poll_bits(PollFlags::IN) })
    }

    /// Whether the kernel killed for memory in this box; consumes the event.
    ///
    /// On v1 the event alone is enough: it comes just before the kill that it announces. One `pread` on v2; on v1 one
    /// `read`, and one `pread` when there was no event.
    ///
    /// # Errors
    /// When the kernel's count cannot be read.
    pub fn oom_happened(&self) -> Result<bool, Error> {
        let dir = self.need(Control::Memory)?;
        if let Some(Some(event)) = self.files.oom_eventfd.get()
            && consume(event.as_fd())
        {
            return Ok(true);
        }
        let file = match dir.version {
            Version::V1 => &self.files.oom_control,
            Version::V2 => &self.files.memory_events,
        };
        file.text(dir, |text| crate::parse::keyed(text, "oom_kill")).map(|kills| kills > 0)
    }

    /// v1: `<eventfd> <memory.oom_control>` in `cgroup.event_control` (`Documentation/admin-guide/cgroup-v1/memory.rst`).
    fn register_oom_event(&self) -> Result<OwnedFd, Error> {
        const EVENT_CONTROL: &str = "cgroup.event_control";
        let dir = self.need(Control::Memory)?;
        let oom_control = self.files.oom_control.open(dir, OFlags::RDONLY)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| Error::OpenAttr {
            path: dir.path.clone(),
            attr: EVENT_CONTROL,
            source: e.into(),
        })?;
        dir.write(EVENT_CONTROL, &format!("{} {}", event.as_raw_fd(), oom_control.as_raw_fd()))?;
        Ok(event)
    }
}

/// Resets an eventfd, and tells whether it had counted anything.
fn consume(event: BorrowedFd<'_>) -> bool {
    let mut count = [0_u8; 8];
    match read(event, &mut count) {
        Ok(_) => u64::from_ne_bytes(count) > 0,
        Err(Errno::AGAIN | _) => false,
    }
}

/// The flags as `struct pollfd` has them.
pub(crate) fn poll_bits(flags: PollFlags) -> i16 {
    // All of poll's flags are below 0x4000.
    i16::try_from(flags.bits()).unwrap_or_default()
}
