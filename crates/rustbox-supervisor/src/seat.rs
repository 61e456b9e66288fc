//! The place of one box in a pool, and the thread that keeps it filled.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use crate::error::Error;
use crate::pool::Shared;
use crate::waiting::Waiting;

/// How often a box that waits is looked at: a dead one is replaced before somebody needs it.
const LOOK: Duration = Duration::from_secs(1);
/// Words to one thread that it may not have heard: that its box is over, and that the pool is.
const WORDS: usize = 2;

/// The place of one box.
#[derive(Debug)]
pub(crate) struct Seat {
    state: Mutex<State>,
    words: Sender<Wake>,
}

#[derive(Debug)]
enum State {
    /// No box could be prepared.
    Empty,
    Waiting(Box<Waiting>),
    /// Whoever took it is not done with it.
    Taken,
}

/// What a seat's thread is woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The box that was taken is over, or was not there.
    Over,
    /// The pool is.
    Close,
}

impl Seat {
    pub(crate) fn new() -> (Arc<Self>, Receiver<Wake>) {
        let (words, wakes) = bounded(WORDS);
        (Arc::new(Self { state: Mutex::new(State::Empty), words }), wakes)
    }

    pub(crate) fn wake(&self, wake: Wake) {
        // A thread that has ended, since its first box could not be made, needs no waking.
        let _ = self.words.send(wake);
    }
}

/// A seat that somebody took; its thread is woken when the value goes. Where that is by a panic nobody has ended the
/// box, and its thread ends: the kernel then does.
pub(crate) struct Occupied(Arc<Seat>);

impl Occupied {
    pub(crate) fn of(seat: Arc<Seat>) -> Self {
        Self(seat)
    }

    /// The box that waits there.
    pub(crate) fn take(&self) -> Option<Waiting> {
        match std::mem::replace(&mut *self.0.state.lock(), State::Taken) {
            State::Waiting(waiting) => Some(*waiting),
            State::Empty | State::Taken => None,
        }
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.wake(if std::thread::panicking() { Wake::Close } else { Wake::Over });
    }
}

/// The thread of one seat, which lives as long as each of its boxes.
pub(crate) struct Keeps {
    pub(crate) shared: Arc<Shared>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) wakes: Receiver<Wake>,
    pub(crate) announce: Sender<Arc<Seat>>,
}

impl Keeps {
    pub(crate) fn work(self, first: &Sender<Result<(), Error>>) {
        let prepared = self.fill(&mut self.seat.state.lock());
        let failed = prepared.is_err();
        // The owner waits for one answer of each; it is gone only if another one failed.
        let _ = first.send(prepared);
        if !failed {
            self.serve();
        }
        let left = std::mem::replace(&mut *self.seat.state.lock(), State::Empty);
        self.discard(left);
    }

    fn serve(&self) {
        self.announce();
        loop {
            match self.wakes.recv_timeout(LOOK) {
                Ok(Wake::Over) => {
                    // Announced even if it is empty: who takes it makes a box of their own.
                    self.refill(&mut self.seat.state.lock());
                    self.announce();
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Ok(Wake::Close) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn announce(&self) {
        // The pool is gone only after this thread.
        let _ = self.announce.send(Arc::clone(&self.seat));
    }

    /// Replaces a box that is not as it was left. Who takes the seat meanwhile waits for the new one.
    fn look(&self) {
        let mut state = self.seat.state.lock();
        match &*state {
            State::Waiting(waiting) if !waiting.is_sound() => {
                let attacked = std::mem::replace(&mut *state, State::Empty);
                self.discard(attacked);
                self.refill(&mut state);
            }
            State::Empty => self.refill(&mut state),
            State::Waiting(_) | State::Taken => {}
        }
    }

    fn refill(&self, state: &mut State) {
        if let Err(error) = self.fill(state) {
            tracing::warn!(%error, "no box could be prepared; the next run makes its own");
        }
    }

    fn fill(&self, state: &mut State) -> Result<(), Error> {
        *state = State::Empty;
        *state = State::Waiting(Box::new(self.shared.prepare()?));
        Ok(())
    }

    fn discard(&self, state: State) {
        if let State::Waiting(waiting) = state
            && let Some(waiting) = self.shared.taken(Some(*waiting))
        {
            self.shared.discard(waiting);
        }
    }
}
