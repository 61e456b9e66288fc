//! How many jobs wait for a box, for the line on the terminal and for `rustbox metrics`.

use parking_lot::Mutex;

use rustbox_health::BatchQueue;

use crate::config::Settings;
use crate::error::chain;

/// The jobs that were read and have no box yet.
#[derive(Debug)]
pub(super) struct Depth {
    /// Held while the number is written, so that the last one written is the last one.
    waiting: Mutex<u64>,
    /// None where it could not be made: then the batch runs, and the metric does not know of it.
    told: Option<BatchQueue>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Queued<'a>(&'a Depth);

impl Depth {
    pub(super) fn open(settings: &Settings) -> Self {
        let told = BatchQueue::open(&settings.state_dir);
        let told =
            told.inspect_err(|error| tracing::warn!(error = chain(error), "the metrics miss this batch's queue"));
        Self { waiting: Mutex::default(), told: told.ok() }
    }

    /// One more waits.
    pub(super) fn enter(&self) -> Queued<'_> {
        self.change(|waiting| waiting + 1);
        Queued(self)
    }

    pub(super) fn now(&self) -> u64 {
        *self.waiting.lock()
    }

    fn change(&self, change: impl FnOnce(u64) -> u64) {
        let mut waiting = self.waiting.lock();
        *waiting = change(*waiting);
        let told = self.told.as_ref().map_or(Ok(()), |told| told.tell(*waiting));
        if let Err(error) = told {
            tracing::warn!(error = chain(&error), "the metrics have an old number of this batch's queue");
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.change(|waiting| waiting.saturating_sub(1));
    }
}
