//! Runs one program in a box, from a plan to a report that proves that nothing of it is left.
//!
//! ```text
//! RunPlan -> Claim -> Sandbox -> (until_over) -> Ended -> Evidence -> RunReport
//!            names    cgroups,   poll loop       kill,    judge()
//!            locked   init held                  reap, remove
//! ```
//!
//! One box is one thread and one poll loop. The supervisor never enters the box's cgroup.

mod claim;
mod clock;
mod collect;
mod controls;
mod error;
mod host;
mod keeper;
mod keeper_child;
mod keeper_path;
mod keepers;
mod lease;
mod leftover;
mod lock;
mod pool;
mod prepared;
mod progress;
mod proof;
mod read;
mod report;
mod run;
mod sandbox;
mod seat;
mod stat;
mod streams;
mod teardown;
mod told;
mod waiting;
mod watch;

pub use collect::{BoxView, Collected, CollectedBox, collect, collect_all, kill, list};
pub use controls::preflight;
pub use error::Error;
pub use host::{Host, Places};
pub use lease::{FIRST_UID, UIDS};
pub use pool::{Begun, NotStarted, Pool, PoolCounts, SLOTS_MAX};
pub use prepared::{Prepared, is_prepared, prepare, prepared_mounts, unprepare};
pub use progress::{Event, Progress, RunIo};
pub use run::{run, run_with};
pub use streams::Files;

/// The example of the README, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
