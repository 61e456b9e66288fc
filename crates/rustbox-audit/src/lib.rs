//! Finds every process of a supervisor that is not where it belongs, by kernel facts that the process cannot forge.
//!
//! The crate knows nothing of any supervisor's files. It is handed a [`Registry`]: which boxes should exist, and by which
//! marks (cgroups, PID namespace, audit session, uid) their processes are known. Then data flows one way:
//!
//! ```text
//! /proc -> ProcSnapshot -> classify -> findings -> decide -> actions -> act -> AuditReport
//!          the only reader  pure                   pure                the only writer
//! ```
//!
//! [`audit`] runs it all. [`watch`] goes on watching. [`audit_box`] is the cheap audit of one box at its end, by proofs that need no look at the host.
//!
//! What an answer rests on:
//! - A process belongs to a box by a *primary* mark: its PID namespace is the box's or lies in it, its audit session id is
//!   the box's, or it is a member of the box's cgroup. A uid is a second mark. Names, arguments and environment are shown,
//!   escaped, and never weighed.
//! - Nothing is accused on one look, and a process that is being born or is dying is not an escape.
//! - What could not be looked at is a finding of its own, so that nothing unseen passes for clean.
//! - A signal goes through a pidfd, after identity and marks were read again.

mod act;
mod attribute;
mod audit;
mod box_audit;
mod cgroup_dir;
mod classify;
mod clock;
mod connector;
mod decide;
mod describe;
mod digest;
mod error;
mod events;
mod gaps;
mod glance;
mod incident;
mod index;
mod judge;
mod lineage;
mod look;
mod observe;
mod parse;
mod pause;
mod population;
mod proc_root;
mod reading;
mod registry;
mod remove;
mod report;
mod residue;
mod snapshot;
mod suspects;
mod sys;
mod watch;

pub use act::{ActionOutcome, ActionResult, act};
pub use attribute::{Attribution, Attributor, Placement};
pub use audit::{AuditOptions, Response, audit};
pub use box_audit::{BoxAudit, Proof, audit_box};
pub use cgroup_dir::read_cgroups;
pub use classify::{Classification, Look, Patience, classify, conclude};
pub use decide::{Action, decide};
pub use error::AuditError;
pub use events::{emit, message_id};
pub use incident::{Incident, Section};
pub use look::SnapshotBuilder;
pub use parse::{
    CgroupLine, CgroupMount, Hierarchy, ProcEvent, Stat, Status, parse_cgroup, parse_cgroup_mounts,
    parse_namespace_link, parse_proc_events, parse_stat, parse_status,
};
pub use proc_root::ProcRoot;
pub use reading::{ProcFile, Reading, Unread};
pub use registry::{BoxMarks, CgroupMark, Phase, PidNamespaceMark, Registry, StaleEntry};
pub use report::{AuditReport, Verdict};
pub use snapshot::{
    AncestorSeen, CgroupSeen, CgroupState, Life, Observer, PathSeen, ProcSnapshot, ProcessSeen, UnreadProcess,
};
pub use watch::{WatchOptions, Watched, watch};

/// The example of the README runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
