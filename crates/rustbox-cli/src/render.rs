//! What people and other programs read.

mod audit;
mod boxes;
mod dry_run;
mod escape;
mod line;
mod meta;
mod signal;
mod tree;

#[cfg(test)]
pub(crate) mod fixture;

pub(crate) use audit::{audit, finding};
pub(crate) use boxes::boxes;
pub(crate) use dry_run::capabilities;
pub(crate) use escape::escape_text;
pub(crate) use line::{details, summary};
pub(crate) use meta::{meta, meta_refused};
pub(crate) use signal::signal_name;
pub(crate) use tree::{Branch, tree};
