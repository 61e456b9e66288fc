//! The vocabulary of rustbox: what a run is asked to be, what we promise, what was seen, and how
//! that is judged and told. Nothing in this crate touches the host.
//!
//! ```text
//! RunSpec --validate--> RunPlan --(the supervisor)--> Evidence --judge--> Outcome --> RunReport
//! ```

mod box_id;
mod command;
mod controls;
mod evidence;
mod exit_code;
mod filesystem;
mod finding;
mod isolation;
mod limits;
mod outcome;
mod overlay;
mod plan;
pub mod planted;
mod process;
mod record;
mod report;
mod spec;
mod stage;
mod units;

pub use box_id::{BoxId, BoxIdError};
pub use command::Command;
pub use controls::{AppliedControl, CgroupBackend, Controls, MissingControl, Mode, PidfdMode};
pub use evidence::{
    Containment, ContainmentVerdict, Ending, Evidence, ExecFailure, InitEnding, KillReason, SetupFailure,
};
pub use exit_code::ExitCode;
pub use filesystem::{Bind, BindAccess, RootSource, TmpfsMount};
pub use finding::{Finding, FindingKind, Mark, MarkKind, RootCause, Severity, Strength};
pub use isolation::{Namespaces, Network, SeccompMode, WaitFor};
pub use limits::{CpuRate, CpuSet, Limits, MemoryMax, PidsMax, ResourceLimits};
pub use outcome::{Cause, Outcome, Status, judge};
pub use plan::RunPlan;
pub use process::{BoxProcess, ProcessKey};
pub use record::Record;
pub use report::{Action, MemoryPeakSource, OutputIntegrity, RUN_SCHEMA, RunReport, Timings};
pub use spec::{RunSpec, SpecError};
pub use stage::{Actor, Stage};
pub use units::{ByteSize, Seconds, UnitError};
