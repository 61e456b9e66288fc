//! The state file and the history, as one: read without a lock, written under one.
//!
//! Order of a write, under the lock: append what an earlier writer could not, write the state by temporary file, `fsync`,
//! rename and `fsync` of the directory, then append to the history and to the counters. The state carries what it adds to
//! both, so that a process that is killed between them loses nothing and counts nothing twice: the next writer adds it, as
//! often as it likes. The history is never ahead of the state; when it is, the state is an older copy and is treated as
//! damaged.

use std::path::{Path, PathBuf};

use rustix::process::getuid;

use crate::counters::{Counters, Delta};
use crate::directory::Directory;
use crate::error::Error;
use crate::event::{Effect, Event, Refusal, event_id};
use crate::history::{self, Entry, History};
use crate::moment::Moment;
use crate::seal::{seal, unseal};
use crate::state::{Last, WorkerState};
use crate::step::step;

/// Name of the state file.
pub(crate) const STATE: &str = "state.json";

/// A worker's state, opened for writing.
#[derive(Debug)]
pub struct Store {
    directory: Directory,
    counters: Counters,
}

/// What an event made of the state.
#[derive(Debug)]
pub struct Updated {
    /// The state now.
    pub state: WorkerState,
    /// Why what was asked for was not done.
    pub refusal: Option<Refusal>,
    /// The literals that are to be told, with what they are about. They were logged already.
    pub warnings: Vec<(&'static str, String)>,
}

/// What a reader finds.
#[derive(Debug)]
pub enum Look {
    /// Nothing was ever written: a new worker.
    New,
    /// A state that is as it was written.
    Known(Box<WorkerState>),
    /// Something that is not as it was written. It has not been touched.
    Damaged {
        /// What is wrong.
        problem: String,
    },
}

/// What a worker is whose state is damaged, before anybody has set it aside: quarantined.
///
/// # Errors
/// The time cannot be read.
pub fn damaged_state(problem: &str) -> Result<WorkerState, Error> {
    let event = Event::StateDamaged { detail: problem.to_owned() };
    Ok(step(&WorkerState::default(), &event, &Moment::now()?, "a look at it").0)
}

/// Reads the state with its history and changes nothing.
///
/// # Errors
/// It cannot be read, or is of a format that this rustbox does not know.
pub fn look(state_dir: &Path) -> Result<(Look, History), Error> {
    match Directory::open(state_dir)? {
        None => Ok((Look::New, History::default())),
        Some(directory) => {
            let history = history::read(&directory)?;
            Ok((read(&directory, &history)?, history))
        }
    }
}

fn read(directory: &Directory, history: &History) -> Result<Look, Error> {
    let bytes = directory.read(STATE, WorkerState::MAX_BYTES)?;
    let look = parse(&directory.path_of(STATE), bytes.as_deref())?;
    let newest = history.generation();
    Ok(match look {
        Look::New if newest > 0 || history.damaged_lines > 0 => {
            Look::Damaged { problem: format!("{STATE} is gone, and the history says that there was one") }
        }
        Look::Known(state) if state.generation < newest => Look::Damaged {
            problem: format!("{STATE} is an older copy: generation {}, the history is at {newest}", state.generation),
        },
        look @ (Look::New | Look::Known(_) | Look::Damaged { .. }) => look,
    })
}

/// What the bytes of a state file say.
pub(crate) fn parse(path: &Path, bytes: Option<&[u8]>) -> Result<Look, Error> {
    let Some(bytes) = bytes else { return Ok(Look::New) };
    let damaged = |problem: &str| Look::Damaged { problem: format!("{STATE} {problem}") };
    let Some(text) = unseal(bytes) else { return Ok(damaged("is torn or was changed: its digest does not fit")) };
    match serde_json::from_str::<WorkerState>(&text) {
        Ok(state) if state.schema == WorkerState::SCHEMA => Ok(Look::Known(Box::new(state))),
        // It is whole, so another rustbox wrote it: not ours to set aside.
        Ok(state) => Err(Error::Schema { path: path.to_owned(), schema: state.schema }),
        Err(_) => {
            let schema = serde_json::from_str::<serde_json::Value>(&text).ok();
            let schema = schema.and_then(|value| value.get("schema")?.as_str().map(str::to_owned));
            Err(Error::Schema { path: path.to_owned(), schema: schema.unwrap_or_default() })
        }
    }
}

impl Store {
    /// Opens the directory of the state, and makes it when it is not there.
    ///
    /// # Errors
    /// It cannot be made, or is not fit to be trusted.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        Ok(Self { directory: Directory::create(state_dir)?, counters: Counters::open(state_dir)? })
    }

    /// Tells the worker what happened. `command` is who tells it, for the history.
    ///
    /// # Errors
    /// The state could not be read or written. Then it is as it was, and the event is not remembered.
    pub fn update(&self, event: &Event, command: &str) -> Result<Updated, Error> {
        let _held = self.directory.lock()?;
        let now = Moment::now()?;
        let by = format!("{command}, uid {}{}", getuid().as_raw(), sudo());
        let mut effects = Vec::new();
        let before = self.load(&now, &by, &mut effects)?;
        let (after, follows) = step(&before, event, &now, &by);
        effects.extend(follows);
        self.commit(&before, after, effects, &format!("{}+{}", now.boot_id, now.boottime_ms))
    }

    /// The state to start from. A damaged one is set aside first, and quarantines.
    fn load(&self, now: &Moment, by: &str, effects: &mut Vec<Effect>) -> Result<WorkerState, Error> {
        let history = history::read(&self.directory)?;
        let problem = match read(&self.directory, &history)? {
            Look::New => return Ok(WorkerState::default()),
            Look::Known(state) => {
                self.catch_up(&state, &history)?;
                return Ok(*state);
            }
            Look::Damaged { problem } => problem,
        };
        let aside = format!("{STATE}.corrupt-{}", now.wall.replace(':', ""));
        let detail = match self.directory.read(STATE, 1)? {
            Some(_) => {
                // A second name and not another one: were we killed now, the next one would find no state and take the
                // worker for a new one.
                self.directory.keep_as(STATE, &aside)?;
                format!("{problem}; kept as {}", self.directory.path_of(&aside).display())
            }
            None => problem,
        };
        let last = history.entries.last();
        let start = WorkerState {
            generation: history.generation(),
            recurrence: last.map_or(0, |entry| entry.recurrence),
            ..WorkerState::default()
        };
        let (state, follows) = step(&start, &Event::StateDamaged { detail }, now, by);
        effects.extend(follows);
        Ok(state)
    }

    /// Adds what a writer that was killed could not.
    fn catch_up(&self, state: &WorkerState, history: &History) -> Result<(), Error> {
        let Some(last) = &state.last else { return Ok(()) };
        let there = history.of_generation(last.generation);
        history::append(&self.directory, last.entries.get(there..).unwrap_or_default())?;
        self.counters.add(&last.counts)
    }

    /// Writes state, history and counters, in this order. `now` is a word for this moment, for the mark of what is counted.
    fn commit(
        &self,
        before: &WorkerState,
        mut after: WorkerState,
        effects: Vec<Effect>,
        now: &str,
    ) -> Result<Updated, Error> {
        let mut updated = Updated { state: WorkerState::default(), refusal: None, warnings: Vec::new() };
        let mut entries: Vec<Entry> = Vec::new();
        let mut delta = Delta::default();
        for effect in effects {
            match effect {
                Effect::Remember(entry) => entries.push(entry),
                Effect::Count(count) => delta.count(count),
                Effect::Warn { event, detail } => updated.warnings.push((event, detail)),
                Effect::Refuse(refusal) => updated.refusal = Some(refusal),
            }
        }
        if after != *before || !entries.is_empty() {
            after.generation = before.generation + 1;
            for entry in &mut entries {
                entry.generation = after.generation;
            }
            delta.mark(format!("{} {now}", after.generation));
            let generation = after.generation;
            after.last = Some(Last { generation, entries: entries.clone(), counts: delta.clone() });
            let text = serde_json::to_string(&after).map_err(Error::Json)?;
            self.directory.replace(STATE, seal(&text).as_bytes())?;
            history::append(&self.directory, &entries)?;
        }
        self.counters.add(&delta)?;
        for (event, detail) in &updated.warnings {
            let escalate = after.escalate();
            tracing::error!(MESSAGE_ID = event_id(event), event, detail, escalate, "{event}: {detail}");
        }
        updated.state = after;
        Ok(updated)
    }

    /// The history file.
    #[must_use]
    pub fn history_path(&self) -> PathBuf {
        self.directory.path_of(history::HISTORY)
    }
}

/// Who called sudo, where it says so: for people, since anybody could set it.
fn sudo() -> String {
    std::env::var("SUDO_UID")
        .ok()
        .filter(|uid| uid.parse::<u32>().is_ok())
        .map_or(String::new(), |uid| format!(" by sudo of uid {uid}"))
}
