//! The command as a whole, through the real binary.

mod arguments;
mod configuration;
mod documents;
mod sandbox;
