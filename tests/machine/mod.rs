//! The real program as a state machine, beside the model's.
//!
//! Theory of operation. [`World`] is a set of states of the model: those that the host may be in. An action is one of the
//! model's actions, or several; what then happens by itself are the model's steps, in every order, until nobody has
//! one left. [`Scene`] does the same action to real processes, waits until what the kernel shows is what one of those
//! states looks like, and drops the others. Sequences come from proptest, which also shortens one that fails.

mod moments;
mod scene;
mod sequence;
mod world;

pub(crate) use moments::Moments;
pub(crate) use scene::{Program, play};
pub(crate) use sequence::Sequences;
pub(crate) use world::Act;
