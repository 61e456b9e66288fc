#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod attr;
mod collect;
mod create;
mod error;
mod evidence;
mod freeze;
mod group;
mod hierarchies;
mod kill;
mod layout;
mod mountinfo;
mod oom;
mod parse;
mod plan;
mod probe;
mod relimit;
mod remove;
mod wait;

pub use collect::Lock;
pub use error::{Error, RemoveError, RemoveFailure};
pub use evidence::CpuUsage;
pub use freeze::Freeze;
pub use group::{BoxCgroup, Watch};
pub use hierarchies::Hierarchies;
pub use kill::KillMethod;
pub use probe::{Probe, Verdict};
pub use wait::Emptied;
