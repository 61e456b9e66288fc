//! `rustbox batch`: many jobs, one line each, through a pool of boxes.
//!
//! ```text
//! feeder --(line)--> workers --(result)--> writer, the main thread
//!    ^------------------(room)----------------'
//! ```
//!
//! Every queue is bounded, and a line is read only when there is room for its result: however long the file is and however
//! slow the first job, what is held in memory is a few results.

mod depth;
mod inputs;
mod job;
mod jobs;
mod progress;
mod results;
mod start;
mod stop;
mod work;

pub(crate) use results::ResultsError;
pub(crate) use work::batch;
