//! Runs in the init, from the payload's start to the end of the box: no allocation, no lock, no `tracing`, no panic.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustbox_core::{Stage, WaitFor};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::blueprint::Blueprint;
use crate::child::{Failure, cpu_ns, monotonic_ns};
use crate::init::{GAVE_UP, ORPHANED, give_up, guard, say};
use crate::message::Message;
use crate::sys;

/// The payload's child, and what is needed to see it end.
pub(crate) struct Main {
    pub(crate) pid: i32,
    pub(crate) children: OwnedFd,
}

/// How long the box lasts: known from the start, or told by the payload's process as soon as it knows its program.
pub(crate) struct Term {
    wait: WaitFor,
    deadline: Option<u64>,
    /// Who has not told yet.
    teller: Option<OwnedFd>,
}

/// A term as it is told: whom to wait for, whether there is a backstop, and after how many nanoseconds.
pub(crate) const TERM_WORDS: usize = 3;
const TERM_BYTES: usize = TERM_WORDS * 8;

impl Term {
    pub(crate) fn known(wait: WaitFor, backstop_ns: Option<u64>) -> Self {
        let deadline = backstop_ns.map(|limit| monotonic_ns().saturating_add(limit));
        Self { wait, deadline, teller: None }
    }

    pub(crate) fn told_by(teller: OwnedFd) -> Self {
        Self { wait: WaitFor::Main, deadline: None, teller: Some(teller) }
    }

    /// Tells a term to the init at the other end of a pipe.
    pub(crate) fn tell(init: BorrowedFd<'_>, wait: WaitFor, backstop_ns: Option<u64>) -> Result<(), Errno> {
        let all = u64::from(wait == WaitFor::All);
        let words = [all, u64::from(backstop_ns.is_some()), backstop_ns.unwrap_or(0)];
        let mut bytes = [0; TERM_BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        rustix::io::retry_on_intr(|| rustix::io::write(init, &bytes)).map(|_| ())
    }

    /// Takes what was told, if anything was.
    fn hear(&mut self) {
        let Some(teller) = &self.teller else { return };
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut [PollFd::from_borrowed_fd(teller.as_fd(), PollFlags::IN)], Some(&now)) == Ok(0) {
            return;
        }
        let mut bytes = [0_u8; TERM_BYTES];
        match rustix::io::retry_on_intr(|| rustix::io::read(teller, &mut bytes[..])) {
            Ok(length) if length == TERM_BYTES => {
                let mut words = [0_u64; TERM_WORDS];
                for (to, from) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
                    *to = u64::from_ne_bytes(*from);
                }
                let [all, has_backstop, backstop_ns] = words;
                let wait = if all == 0 { WaitFor::Main } else { WaitFor::All };
                *self = Self::known(wait, (has_backstop != 0).then_some(backstop_ns));
            }
            // It ended before it had a program, and says itself why.
            Ok(_) | Err(_) => {}
        }
        self.teller = None;
    }
}

/// What init has seen so far.
struct Count {
    main_ended: bool,
    descendants: u64,
}

/// Stays until nothing is left, or until it is killed; the value is the init's exit code.
pub(crate) fn reap(plan: &Blueprint, supervisor: BorrowedFd<'_>, main: &Main, mut term: Term) -> i32 {
    let mut count = Count { main_ended: false, descendants: 0 };
    loop {
        let round = match reap_some(supervisor, main, &mut count) {
            Ok(round) => round,
            Err(failure) => return give_up(supervisor, failure),
        };
        let empty = round == Round::Childless;
        if empty {
            // Nothing is left but this process; the supervisor waits for its end.
            let last = Message::Reaped { descendants: count.descendants, init_cpu_ns: cpu_ns(), empty };
            let _ = say(supervisor, last, Stage::Reap);
            return 0;
        }
        if count.main_ended {
            // Told before the program was executed, and perhaps not heard yet.
            term.hear();
        }
        if count.main_ended && term.wait == WaitFor::Main {
            let last = Message::Reaped { descendants: count.descendants, init_cpu_ns: cpu_ns(), empty };
            if say(supervisor, last, Stage::Reap).is_err() {
                return ORPHANED;
            }
            return linger(plan, supervisor, main, &mut term);
        }
        match pause(plan, main, &mut term, round) {
            Ok(Pause::Child) => {}
            Ok(Pause::Deadline) => {
                let _ = say(supervisor, Message::Backstop, Stage::Wait);
                return GAVE_UP;
            }
            Err(errno) => return give_up(supervisor, Failure::at(Stage::Wait)(errno)),
        }
    }
}

/// Children that are reaped between two looks at the supervisor and at the clock. A payload can make dead orphans
/// faster than anybody reaps them; a loop until none is left would then never look again.
const REAPED_AT_ONCE: u32 = 64;

/// What a round of reaping left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// No children at all.
    Childless,
    /// Children that are alive; the next one that ends is announced.
    Quiet,
    /// Perhaps more that have ended.
    Unfinished,
}

/// Reaps what has ended, so many at most.
fn reap_some(supervisor: BorrowedFd<'_>, main: &Main, count: &mut Count) -> Result<Round, Failure> {
    for _ in 0..REAPED_AT_ONCE {
        match sys::wait_any_nohang() {
            Ok(Some(reaped)) if reaped.pid == main.pid && !count.main_ended => {
                count.main_ended = true;
                let ended = Message::MainEnded {
                    at_ns: monotonic_ns(),
                    ending: reaped.ending,
                    max_rss_kib: reaped.max_rss_kib,
                    voluntary: reaped.voluntary,
                    involuntary: reaped.involuntary,
                };
                say(supervisor, ended, Stage::Reap)?;
            }
            Ok(Some(_)) => count.descendants += 1,
            Ok(None) => return Ok(Round::Quiet),
            // Without the main process's end that is no end, but missing evidence.
            Err(Errno::CHILD) if count.main_ended => return Ok(Round::Childless),
            Err(errno) => return Err(Failure::at(Stage::Reap)(errno)),
        }
    }
    Ok(Round::Unfinished)
}

enum Pause {
    Child,
    Deadline,
}

/// Looks at the supervisor and at the clock, and waits for a child's end unless there may be more to reap.
fn pause(plan: &Blueprint, main: &Main, term: &mut Term, round: Round) -> Result<Pause, Errno> {
    // One that has told all is not polled: a descriptor twice in the list is harmless.
    let teller = term.teller.as_ref().unwrap_or(&main.children);
    let mut fds = [
        PollFd::from_borrowed_fd(main.children.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(plan.supervisor_pidfd.as_fd(), guard()),
        PollFd::from_borrowed_fd(teller.as_fd(), PollFlags::IN),
    ];
    let left = match round {
        Round::Unfinished => Some(0),
        Round::Childless | Round::Quiet => term.deadline.map(|at| at.saturating_sub(monotonic_ns())),
    };
    let timeout = left.map(|ns| Timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0),
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno),
    }
    if !fds[1].revents().is_empty() && !guard().is_empty() {
        sys::exit_now(ORPHANED);
    }
    if !fds[2].revents().is_empty() {
        term.hear();
    }
    // Also when a child has ended: there may always be one.
    if term.deadline.is_some_and(|at| monotonic_ns() >= at) {
        return Ok(Pause::Deadline);
    }
    let mut record = [0_u8; 128];
    match rustix::io::read(&main.children, &mut record[..]) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(Pause::Child),
        Err(errno) => Err(errno),
    }
}

/// The main process is gone and others are alive: the supervisor takes stock of them and kills
/// everything, this process included. Reaping goes on, so that what dies meanwhile is no zombie.
///
/// A supervisor that is stopped does neither, and then the deadline holds all the same.
fn linger(plan: &Blueprint, supervisor: BorrowedFd<'_>, main: &Main, term: &mut Term) -> i32 {
    let mut round = Round::Unfinished;
    loop {
        match pause(plan, main, term, round) {
            Ok(Pause::Deadline) => {
                let _ = say(supervisor, Message::Backstop, Stage::Wait);
                return GAVE_UP;
            }
            Ok(Pause::Child) => {}
            Err(errno) => return give_up(supervisor, Failure::at(Stage::Wait)(errno)),
        }
        round = Round::Unfinished;
        for _ in 0..REAPED_AT_ONCE {
            if !matches!(sys::wait_any_nohang(), Ok(Some(_))) {
                round = Round::Quiet;
                break;
            }
        }
    }
}
