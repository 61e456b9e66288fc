//! What a box would have of its supervisor: a place before everybody else on the host.
//!
//! A service manager may run a service so that it is not killed for memory (`OOMScoreAdjust=`), or before others (`Nice=`,
//! `CPUSchedulingPolicy=`). A box with the first cannot be killed for its own memory limit either, and with the second its
//! turn comes before that of whoever would end it. What puts the supervisor *behind* others is kept.

use std::io::Read;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread, write};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::Error;
use crate::sys::{self, Scheduling};

const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";
/// Limits up to which a process may put itself before others.
const PLACES: [Resource; 2] = [Resource::Rtprio, Resource::Nice];

/// What there is to be given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited {
    is_spared: bool,
    scheduling: Option<Scheduling>,
    places: [bool; PLACES.len()],
}

impl Inherited {
    /// Looks at the calling thread, of which the init is a copy.
    pub(crate) fn read() -> Result<Self, Error> {
        let failed = |source| Error::ReadSelf { path: OOM_SCORE_ADJ, source };
        let mut text = [0; 8];
        let length = std::fs::File::open(OOM_SCORE_ADJ).and_then(|mut file| file.read(&mut text)).map_err(failed)?;
        let is_spared = length == 0 || text.first() == Some(&b'-');
        let scheduling = sys::scheduling().map_err(Error::call("sched_getattr"))?;
        let places = PLACES.map(|place| getrlimit(place).maximum != Some(0));
        Ok(Self { is_spared, scheduling: scheduling.is_before_others().then_some(scheduling), places })
    }

    /// Gives it up, and reads back that it is gone. Runs in the init: does not allocate.
    pub(crate) fn leave(self) -> Result<(), Errno> {
        if self.is_spared {
            let flags = OFlags::RDWR | OFlags::CLOEXEC;
            let file = openat(CWD, c"/proc/self/oom_score_adj", flags, Mode::empty())?;
            write(&file, b"0")?;
            let mut found = [0; 4];
            if pread(&file, &mut found[..], 0)? != 2 || !found.starts_with(b"0\n") {
                return Err(Errno::PERM);
            }
        }
        if let Some(scheduling) = self.scheduling {
            sys::set_scheduling(scheduling.behind())?;
            if sys::scheduling()?.is_before_others() {
                return Err(Errno::PERM);
            }
        }
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        for (place, _) in PLACES.into_iter().zip(self.places).filter(|(_, there)| *there) {
            setrlimit(place, none)?;
            if getrlimit(place) != none {
                return Err(Errno::PERM);
            }
        }
        Ok(())
    }
}
