//! Spawns one program in namespaces of its own, held at a barrier until its supervisor has checked
//! what the kernel says of it.
//!
//! The parent makes a [`Blueprint`], [`spawn()`]s an [`Init`], looks at it from outside for as long as
//! it likes, [releases](Init::release) it, and listens to its [`Message`]s until the end.

mod blueprint;
mod child;
mod empty;
mod error;
mod fdpass;
mod idmap;
mod inherited;
mod init;
mod job;
mod later;
mod message;
mod mount_check;
mod namespaces;
mod network;
mod notify;
mod orders;
mod proc_mask;
mod process;
mod reap;
mod root;
mod root_plan;
pub mod seccomp;
mod spawn;
mod status_file;
mod sys;
mod system;

pub use blueprint::{Blueprint, Resources};
pub use empty::EmptyMounts;
pub use error::Error;
pub use fdpass::{FDS_MAX, receive_fds, send_fds};
pub use job::Job;
pub use message::{MalformedMessage, Message};
pub use namespaces::{namespace_ids, planned_namespaces};
pub use network::make_network_namespace;
pub use notify::{DeniedCall, take_denied_call};
pub use proc_mask::{MASKS as PROC_MASKS, ProcMask};
pub use process::{Process, Reaped, ignore_file_size_signal, spawn_helper};
pub use spawn::{Init, Received, spawn};
pub use system::System;

/// The example of the README, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
