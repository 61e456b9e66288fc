//! The command as a whole, through the real binary.

mod arguments;
mod audit;
mod batch;
mod boxes;
mod configuration;
mod documents;
mod events;
mod sandbox;
mod unread;
mod watch;
