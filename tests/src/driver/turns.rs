//! Kills in their order: who comes to his call before it is his turn is held there.

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::boundary::{Boundary, Fault};
use super::drive::{Drive, Recorded};
use super::site;
use super::tracee::Entry;
use crate::pidfd::PidFd;
use crate::skip::in_guest;

/// How long a process is held while nobody else moves: what others do between two calls takes milliseconds, unless it is
/// this one that they wait for.
const HELD_MAX: Duration = Duration::from_millis(300);
/// The same in a guest, where everything takes ten times as long.
const HELD_MAX_IN_GUEST: Duration = Duration::from_secs(3);
/// How often it is looked for the next stop at once, before that is waited for: whole lives are led while somebody is held.
const GLANCES: u32 = 200;

/// A process that stands before the call at which it is to be killed, and is too early.
pub(super) struct Held {
    pub(super) pid: Pid,
    pub(super) entry: Entry,
    /// Read while it stands: it may die there by itself.
    operand: String,
}

impl Held {
    /// The call before which it stands.
    pub(super) fn recorded(self) -> Recorded {
        Recorded { boundary: self.entry.boundary, operand: self.operand }
    }
}

/// What became of somebody who is to be killed.
enum Victim {
    Unharmed,
    Killed(PidFd),
    Gone,
}

/// Who is held, and who was killed.
pub(super) struct Turns {
    held: Vec<Held>,
    /// For each fault of the plan.
    victims: Vec<Victim>,
    /// When somebody moved last, and how often nobody has since.
    moved: (Instant, u32),
}

impl Turns {
    pub(super) fn new(plan: &Drive) -> Self {
        let victims = plan.faults.iter().map(|_| Victim::Unharmed).collect();
        Self { held: Vec::new(), victims, moved: (Instant::now(), 0) }
    }

    pub(super) fn is_anybody_held(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn hold(&mut self, pid: Pid, entry: Entry) {
        let operand = site::operand(pid, entry.boundary.call, entry.arguments);
        self.held.push(Held { pid, entry, operand });
    }

    /// Somebody has moved.
    pub(super) fn moved(&mut self) {
        self.moved = (Instant::now(), 0);
    }

    /// Nobody has; whether that may be asked again at once.
    pub(super) fn nobody_moved(&mut self) -> bool {
        self.moved.1 += 1;
        self.moved.1 < GLANCES
    }

    /// Whether it is too late for those who are held: they go on, and are not killed.
    pub(super) fn are_given_up(&self) -> bool {
        self.moved.0.elapsed() > if in_guest() { HELD_MAX_IN_GUEST } else { HELD_MAX }
    }

    /// Everybody who is held, to be [held](Self::keep) further or not.
    pub(super) fn take(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    pub(super) fn keep(&mut self, held: Held) {
        self.held.push(held);
    }

    /// Takes one who has ended while he was held.
    pub(super) fn take_of(&mut self, pid: Pid) -> Option<Held> {
        let at = self.held.iter().position(|held| held.pid == pid)?;
        Some(self.held.swap_remove(at))
    }

    /// Where those stand who are held.
    pub(super) fn boundaries(&self) -> Vec<Boundary> {
        self.held.iter().map(|held| held.entry.boundary).collect()
    }

    /// The process that this fault of the plan was made to gets its SIGKILL.
    pub(super) fn kill(&mut self, fault: usize, pid: Pid) {
        let pidfd = PidFd::open(pid.as_raw().unsigned_abs());
        // An init that dies of its supervisor's death may have been reaped by then.
        self.victims[fault] = pidfd.map_or(Victim::Gone, |pidfd| {
            pidfd.signal(rustix::process::Signal::KILL);
            Victim::Killed(pidfd)
        });
    }

    /// The fault of the plan that kills at this call.
    pub(super) fn kill_at(plan: &Drive, boundary: Boundary) -> Option<usize> {
        plan.faults.iter().position(|(at, fault)| (*at, *fault) == (boundary, Fault::Kill))
    }

    /// Whether somebody is to be killed at this call, and before him somebody else who is not dead yet.
    pub(super) fn is_early(&self, plan: &Drive, boundary: Boundary, held: &[Boundary]) -> bool {
        let Some(mine) = Self::kill_at(plan, boundary) else { return false };
        let is_kill = |at: &usize| plan.faults[*at].1 == Fault::Kill;
        let is_dead = |at: &usize| match &self.victims[*at] {
            Victim::Unharmed => false,
            Victim::Killed(process) => process.wait(Duration::ZERO),
            Victim::Gone => true,
        };
        let is_away = |at: &usize| matches!(self.victims[*at], Victim::Unharmed) && !held.contains(&plan.faults[*at].0);
        let lives_still = (0..mine).filter(is_kill).any(|before| !is_dead(&before));
        lives_still || plan.together && (mine + 1..plan.faults.len()).filter(is_kill).any(|after| is_away(&after))
    }
}
