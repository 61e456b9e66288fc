//! The protocol of a box's life: spawn, attach, arm, go, kill, reap, remove, recover.
//!
//! [`Protocol::step`] is a pure function of a [`State`] and an [`Action`]. Two supervisors want the same name; each has
//! a keeper and an init. Anybody may be killed at any moment, within a budget; one thing may go wrong besides: the
//! parent-death signal is lost, an init is wedged, an attach lies. What must never be, and what must be true once
//! nobody has anything left to do, are the properties of [`Protocol`] as a Stateright model.
//!
//! A [`Step`] of the protocol can be left out. Each must then be missed: there is a counterexample for every one.

mod effects;
mod model;
mod properties;
mod state;
mod step;

pub use properties::{Broken, broken};
pub use state::{Action, Init, InitStage, Keeper, Rogue, State, Supervisor};
pub use step::{Protocol, Step};
