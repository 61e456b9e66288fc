//! Ending every process of a box.
//!
//! `cgroup.kill` is one write that no fork outruns. Where it is not to be had, each member is signalled through a
//! pidfd: opened by pid, then the pid is looked up *again* in `cgroup.procs`. If it is listed after the opening, the
//! process behind the pidfd either is that member, or has died, and then the signal reaches nobody.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::attr::Dir;
use crate::error::Error;
use crate::group::{BoxCgroup, Origin};
use crate::layout::{Control, Version};
use crate::wait::pause;

/// How a box was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillMethod {
    /// `cgroup.kill` (Linux 5.14): atomic.
    CgroupKill,
    /// Frozen, each member signalled through its pidfd, thawed.
    FreezeAndPidfds {
        /// How many signals were sent.
        signals: u64,
    },
    /// Forks stopped with `pids.max`, each member signalled through its pidfd until none was left.
    PidfdLoop {
        /// How many signals were sent.
        signals: u64,
    },
    /// There was no directory any more, so nothing to kill: somebody else was faster.
    Gone,
}

/// How long members are signalled anew before that is left to whoever waits: a loop over 2,000 churning processes
/// was measured at 23 ms, one over a fork bomb at 840 ms without a limit on pids.
const LOOP_LIMIT: Duration = Duration::from_secs(2);

/// Time between two looks at who is left.
const LOOP_PAUSE: Duration = Duration::from_millis(1);

/// How many pidfds are open at once: well below the usual 1024 of `RLIMIT_NOFILE`.
const PIDFDS_AT_ONCE: usize = 256;

impl BoxCgroup {
    /// Kills every process of the box; on return the signals are sent, not yet obeyed: see [`Self::wait_empty`].
    ///
    /// On v2 and hybrid one write to a file that is open since the creation; then, on v1 and hybrid, a look for a
    /// freezer cgroup of the same name, which is thawed. On v1 alone five calls per process, and it returns when no
    /// process is listed or after two seconds.
    ///
    /// # Errors
    /// When a process could not be signalled, or a frozen box not be thawed. A removed directory is no error.
    pub fn kill(&self) -> Result<KillMethod, Error> {
        let Some(v2) = self.v2() else { return self.kill_loop() };
        let method = match self.files.kill.put(v2, "1") {
            Ok(()) => {
                self.thaw_freezer()?;
                KillMethod::CgroupKill
            }
            Err(error) if error.is_gone() => KillMethod::Gone,
            Err(error) => {
                tracing::warn!(%error, "cgroup.kill failed; killing one by one");
                self.kill_frozen(v2)?
            }
        };
        // A box that another configuration made can have members that never were in its v2 directory.
        if method == KillMethod::Gone || self.origin == Origin::Found {
            let nobody = KillMethod::PidfdLoop { signals: 0 };
            return self.kill_loop().map(|other| if other == nobody { method } else { other });
        }
        Ok(method)
    }

    fn kill_frozen(&self, v2: &Dir) -> Result<KillMethod, Error> {
        if let Err(error) = v2.write("cgroup.freeze", "1") {
            tracing::debug!(%error, "not frozen; killing anyway");
        }
        // A frozen task of v2 dies of SIGKILL as it is; thawing only frees what was missed.
        let signals = self.signal_until_empty(&[v2]);
        let thawed = self.thaw();
        let signals = signals?;
        thawed.map(|()| KillMethod::FreezeAndPidfds { signals })
    }

    /// Kills what the v1 directories list. Every one of them: a box whose supervisor died while its init was attaching
    /// is a member of some only.
    fn kill_loop(&self) -> Result<KillMethod, Error> {
        if let Some(dir) = self.home(Control::Pids)
            && let Err(error) = dir.write("pids.max", "0")
            && !error.is_gone()
        {
            tracing::warn!(%error, "forks not stopped; killing anyway");
        }
        let v1: Vec<&Dir> = self.dirs.iter().filter(|dir| dir.version == Version::V1).collect();
        let mut signals = 0;
        for dir in &v1 {
            signals += signal_members(dir)?;
        }
        // With the signals pending, what is thawed dies instead of running on.
        self.thaw_freezer()?;
        signals += self.signal_until_empty(&v1)?;
        Ok(KillMethod::PidfdLoop { signals })
    }

    fn signal_until_empty(&self, dirs: &[&Dir]) -> Result<u64, Error> {
        let ends = Instant::now() + LOOP_LIMIT;
        let mut signals = 0;
        loop {
            let mut sent = 0;
            for dir in dirs {
                sent += signal_members(dir)?;
            }
            signals += sent;
            if sent == 0 || Instant::now() >= ends {
                return Ok(signals);
            }
            pause(LOOP_PAUSE)?;
        }
    }
}

/// Signals every member that is listed now, and returns how many.
fn signal_members(dir: &Dir) -> Result<u64, Error> {
    let mut signals = 0;
    let mut rest = match dir.procs() {
        Err(error) if error.is_gone() => return Ok(0),
        listed => listed?,
    };
    while !rest.is_empty() {
        let (opened, tried) = open_some(dir, &rest)?;
        rest.drain(..tried);
        let mut members = dir.procs()?;
        members.sort_unstable();
        for (pid, pidfd) in opened {
            if members.binary_search(&pid).is_err() {
                continue;
            }
            match pidfd_send_signal(&pidfd, Signal::KILL) {
                Ok(()) => signals += 1,
                Err(Errno::SRCH) => {}
                Err(e) => return Err(Error::KillMember { path: dir.path.clone(), pid, source: e.into() }),
            }
        }
    }
    Ok(signals)
}

/// Opens pidfds of the first members that fit, and says how many pids that took.
fn open_some(dir: &Dir, pids: &[u32]) -> Result<(Vec<(u32, OwnedFd)>, usize), Error> {
    let mut opened = Vec::new();
    for (tried, &pid) in pids.iter().take(PIDFDS_AT_ONCE).enumerate() {
        // A 0 is a process outside our PID namespace, which only somebody outside can signal.
        let named = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH);
        match named.and_then(|named| pidfd_open(named, PidfdFlags::empty())) {
            Ok(pidfd) => opened.push((pid, pidfd)),
            // It has ended. Its number may be a thread's by now: that is EINVAL, and ENOENT since Linux 6.15.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) if pid != 0 => {}
            Err(Errno::MFILE | Errno::NFILE) if !opened.is_empty() => return Ok((opened, tried)),
            Err(e) => return Err(Error::KillMember { path: dir.path.clone(), pid, source: e.into() }),
        }
    }
    Ok((opened, pids.len().min(PIDFDS_AT_ONCE)))
}
