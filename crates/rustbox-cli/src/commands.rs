//! One module for each command.

mod config;
mod documents;

pub(crate) use config::config;
pub(crate) use documents::{completions, man, schema};
