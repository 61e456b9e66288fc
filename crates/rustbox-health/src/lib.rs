//! The state of a worker: when it must not be trusted, how it recovers, and what its operators are told.
//!
//! ```text
//! report of a run, audit, operator -> Event -> step -> WorkerState + Effects -> state file, history, counters
//!                                             pure                            the only writer
//! ```
//!
//! [`admit`] is asked before a run and reads one file. [`Store::update`] is told afterwards, and only when there is
//! something to tell. Counters are kept apart ([`Counters`]), since every run has something to count.
//!
//! What an answer rests on:
//! - A state file that is torn, flipped or rolled back is set aside and quarantines the worker; it never reads as healthy.
//! - A violation quarantines at once, and only a person lifts that.
//! - What could not be looked at is not clean.
//! - A worker that runs out of something stops while there is still room to write that down.

mod clean;
mod counters;
mod directory;
mod error;
mod event;
mod exposition;
mod families;
mod gate;
mod history;
mod host_facts;
mod leases;
mod moment;
mod observe;
mod queue;
mod recover;
mod resources;
mod seal;
mod state;
mod step;
mod store;

pub use clean::{Cleanliness, Left, Survey, survey};
pub use counters::{Counters, Delta, Totals};
pub use error::Error;
pub use event::{Cleanup, Count, Effect, Event, Force, LOG_EVENTS, RecoveryOutcome, Refusal, Sighting};
pub use exposition::{Exposition, WorkerFacts, expose};
pub use gate::{Admission, Refused, admit};
pub use history::{Entry, History, What};
pub use host_facts::{Backend, backend};
pub use moment::Moment;
pub use observe::{audit_event, count_run, partial_audit_event, run_event};
pub use queue::BatchQueue;
pub use recover::{Recovery, recover};
pub use resources::{Resources, Thresholds};
pub use state::{Complaint, ComplaintKind, Last, Quarantine, ReasonKind, Status, Stop, Suspicion, WorkerState};
pub use step::step;
pub use store::{Look, Store, Updated, damaged_state, look};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
