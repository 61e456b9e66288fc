//! The `rustbox` command: arguments, configuration, rendering, exit codes.
//!
//! The command decides nothing about a run: it turns what was typed into a checked plan, hands that to
//! the supervisor, and shows what comes back. It is a library only so that the same program can be
//! installed under two names.

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

/// One heap that is kept together, for all threads. After each clone of a box's processes every page that is written has to be
/// copied, and every other processor told: an allocator that gives each thread memory of its own, and keeps what is freed for
/// later, has a batch copy half as many pages again.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;
