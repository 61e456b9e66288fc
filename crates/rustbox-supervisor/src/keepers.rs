//! Keepers whose box is over and gone, for boxes that follow: a pool's.
//!
//! A keeper is outside its box, and nothing that a payload can touch: what is true of it at the end of one box is true at
//! the beginning of the next. A copy of the supervisor for each box is a tenth of what a box costs.

use parking_lot::Mutex;

use crate::keeper::Keeper;
use crate::keeper_child::Plan;
use crate::pool::SLOTS_MAX;

/// Keepers that wait.
#[derive(Debug, Default)]
pub(crate) struct Keepers(Mutex<Vec<Keeper>>);

impl Keepers {
    /// One that waits, and that fits this box.
    pub(crate) fn take(&self, plan: &Plan) -> Option<Keeper> {
        let mut waiting = self.0.lock();
        let found = waiting.iter().position(|keeper| keeper.fits(plan))?;
        Some(waiting.swap_remove(found))
    }

    /// Keeps one whose box is over; gives it back when there are enough.
    pub(crate) fn keep(&self, keeper: Keeper) -> Option<Keeper> {
        let mut waiting = self.0.lock();
        if waiting.len() >= SLOTS_MAX {
            return Some(keeper);
        }
        waiting.push(keeper);
        None
    }

    /// Ends those that wait.
    pub(crate) fn dismiss(&self) {
        let waiting = std::mem::take(&mut *self.0.lock());
        for keeper in waiting {
            if let Err(error) = keeper.dismiss() {
                tracing::warn!(%error, "a keeper that waited");
            }
        }
    }
}
