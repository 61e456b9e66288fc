//! Keepers whose box is over and gone, for boxes that follow: those of the pools of a host.
//!
//! A keeper is outside its box, and nothing that a payload can touch: what is true of it at the end of one box is true at
//! the beginning of the next. A copy of the supervisor for each box is an eighth of what a box costs.

use parking_lot::Mutex;

use crate::keeper::Keeper;
use crate::keeper_child::Plan;

/// Keepers that wait. They are ended with the value.
#[derive(Debug, Default)]
pub(crate) struct Keepers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many may wait: one for each box of the pools that there are.
    room: usize,
    waiting: Vec<Keeper>,
}

impl Keepers {
    /// A pool of so many boxes begins.
    pub(crate) fn open(&self, slots: usize) {
        self.0.lock().room += slots;
    }

    /// It has ended: ends those for which there is no room any more.
    pub(crate) fn close(&self, slots: usize) {
        let left = {
            let mut state = self.0.lock();
            state.room = state.room.saturating_sub(slots);
            let room = state.room.min(state.waiting.len());
            state.waiting.split_off(room)
        };
        left.into_iter().for_each(dismiss);
    }

    pub(crate) fn are_wanted(&self) -> bool {
        self.0.lock().room > 0
    }

    /// One that waits, and that fits this box.
    pub(crate) fn take(&self, plan: &Plan) -> Option<Keeper> {
        let mut state = self.0.lock();
        let found = state.waiting.iter().position(|keeper| keeper.fits(plan))?;
        Some(state.waiting.swap_remove(found))
    }

    /// Keeps one whose box is over; gives it back when there is no room.
    pub(crate) fn keep(&self, keeper: Keeper) -> Option<Keeper> {
        let mut state = self.0.lock();
        if state.waiting.len() >= state.room {
            return Some(keeper);
        }
        state.waiting.push(keeper);
        None
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        std::mem::take(&mut self.0.get_mut().waiting).into_iter().for_each(dismiss);
    }
}

pub(crate) fn dismiss(keeper: Keeper) {
    if let Err(error) = keeper.dismiss() {
        tracing::warn!(%error, "a keeper that waited");
    }
}
