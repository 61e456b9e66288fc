//! What is asked before a run: may this worker be given work?
//!
//! One open and one read where nothing is wrong. The history is not read here; a state that was rolled back is found by
//! whoever writes next or asks for the worker's health.

use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::directory::HEALTH;
use crate::error::Error;
use crate::event::{Cleanup, Event};
use crate::history::HISTORY;
use crate::state::{ReasonKind, WorkerState};
use crate::store::{Look, STATE, Store, parse};

/// The answer.
#[derive(Debug)]
pub enum Admission {
    /// Work may be given. The state as it was read; none for a new worker.
    Open(Option<Box<WorkerState>>),
    /// It may not.
    Refused(Refused),
}

/// Why no work may be given, and what leads out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason, as it was said.
    pub reason: String,
    /// What was seen.
    pub detail: String,
    /// Since when, RFC 3339, UTC.
    pub since: String,
    /// The command that leads out.
    pub way_out: &'static str,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} since {} ({}); the way out: {}", self.reason, self.since, self.detail, self.way_out)
    }
}

/// What leads out of a quarantine that a person must lift.
pub(crate) const REVIEW: &str = "the runbook worker-quarantine, then `rustbox health --unquarantine --reason TEXT`";
/// What leads out of any other.
pub(crate) const RECOVER: &str = "`rustbox health --recover`";
/// What leads out of a stop.
pub(crate) const START: &str = "`systemctl start rustbox`, or `rustbox health --start-accepting`";

impl Refused {
    /// Why a worker that is short of something takes no work, where nothing could be written down.
    #[must_use]
    pub fn short(detail: String) -> Self {
        let since = crate::moment::rfc3339(std::time::SystemTime::now());
        Self { reason: ReasonKind::ResourceExhaustion.as_str().to_owned(), detail, since, way_out: RECOVER }
    }

    /// Why a worker in this state takes no work; none when it does.
    #[must_use]
    pub fn by(state: &WorkerState) -> Option<Self> {
        if let Some(held) = &state.quarantine {
            let way_out = if held.kind.needs_review() { REVIEW } else { RECOVER };
            let (reason, detail) = (held.reason.clone(), held.detail.clone());
            return Some(Self { reason, detail, since: held.since.wall.clone(), way_out });
        }
        let stop = state.stop.as_ref()?;
        let detail = format!("stopped by {}", stop.by);
        Some(Self { reason: "service_stopped".to_owned(), detail, since: stop.since.wall.clone(), way_out: START })
    }
}

/// Asks whether a worker may be given work. A damaged state is set aside and quarantines, and the answer is no.
///
/// # Errors
/// The state cannot be read, or is of a format that this rustbox does not know: then nothing is known.
pub fn admit(state_dir: &Path) -> Result<Admission, Error> {
    let path = state_dir.join(HEALTH).join(STATE);
    let bytes = read(&path)?;
    if bytes.is_none() {
        let history = state_dir.join(HEALTH).join(HISTORY);
        match rustix::fs::lstat(&history) {
            Err(rustix::io::Errno::NOENT) => return Ok(Admission::Open(None)),
            // A history without a state: somebody took the state away.
            Ok(_) => return damaged(state_dir),
            Err(errno) => return Err(Error::Open { path: history, source: errno.into() }),
        }
    }
    match parse(&path, bytes.as_deref())? {
        Look::New => Ok(Admission::Open(None)),
        Look::Known(state) => Ok(match Refused::by(&state) {
            Some(refused) => Admission::Refused(refused),
            None => Admission::Open(Some(state)),
        }),
        Look::Damaged { .. } => damaged(state_dir),
    }
}

fn damaged(state_dir: &Path) -> Result<Admission, Error> {
    // An event that says nothing: the damage is found on the way, under the lock. Whoever was first has mended it.
    let nothing = Event::RunEnded { sightings: Vec::new(), cleanup: Cleanup::Unknown };
    let updated = Store::open(state_dir)?.update(&nothing, "rustbox run")?;
    Ok(match Refused::by(&updated.state) {
        Some(refused) => Admission::Refused(refused),
        None => Admission::Open(Some(Box::new(updated.state))),
    })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    let flags = i32::try_from(flags).unwrap_or_default();
    let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result.map_err(|source| Error::Open { path: path.to_owned(), source })?,
    };
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let found = file.metadata().map_err(failed)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        let problem = "belongs to somebody else; it must belong to the user that runs rustbox";
        return Err(Error::Untrusted { path: path.to_owned(), problem });
    }
    let room = found.len().min(WorkerState::MAX_BYTES) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
    file.take(WorkerState::MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}
