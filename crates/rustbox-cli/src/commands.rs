//! One module for each command.

mod audit;
mod boxes;
mod cgroup_root;
mod config;
mod doctor;
mod documents;
pub(crate) mod host;
mod prepare;
mod run;
mod tree;
mod watch;

pub(crate) use audit::audit;
pub(crate) use boxes::{cleanup, kill, ps};
pub(crate) use cgroup_root::cgroup_root;
pub(crate) use config::config;
pub(crate) use doctor::doctor;
pub(crate) use documents::{completions, man, schema};
pub(crate) use prepare::prepare;
pub(crate) use run::{dry_run, run};
pub(crate) use tree::tree;
