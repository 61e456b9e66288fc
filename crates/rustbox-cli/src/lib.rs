//! The `rustbox` command: arguments, configuration, rendering, exit codes.
//!
//! The command decides nothing about a run: it turns what was typed into a checked plan, hands that to
//! the supervisor, and shows what comes back. It is a library only so that the same program can be
//! installed under two names.

mod allocator;
mod app;
mod args;
mod audited;
mod batch;
mod commands;
mod config;
mod doctor;
mod error;
mod health;
mod listed;
mod log;
mod metrics;
mod output;
mod render;
mod signals;

pub use app::main;
