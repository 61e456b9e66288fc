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

/// How long the box lasts.
#[derive(Clone, Copy)]
pub(crate) struct Term {
    pub(crate) wait: WaitFor,
    pub(crate) backstop_ns: Option<u64>,
}

/// What init has seen so far.
struct Count {
    main_ended: bool,
    descendants: u64,
}

/// Stays until nothing is left, or until it is killed; the value is the init's exit code.
pub(crate) fn reap(plan: &Blueprint, supervisor: BorrowedFd<'_>, main: &Main, term: Term) -> i32 {
    let deadline = term.backstop_ns.map(|limit| monotonic_ns().saturating_add(limit));
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
        if count.main_ended && term.wait == WaitFor::Main {
            let last = Message::Reaped { descendants: count.descendants, init_cpu_ns: cpu_ns(), empty };
            if say(supervisor, last, Stage::Reap).is_err() {
                return ORPHANED;
            }
            return linger(plan, supervisor, main, deadline);
        }
        match pause(plan, main, deadline, round) {
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
fn pause(plan: &Blueprint, main: &Main, deadline: Option<u64>, round: Round) -> Result<Pause, Errno> {
    let mut fds = [
        PollFd::from_borrowed_fd(main.children.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(plan.supervisor_pidfd.as_fd(), guard()),
    ];
    let left = match round {
        Round::Unfinished => Some(0),
        Round::Childless | Round::Quiet => deadline.map(|at| at.saturating_sub(monotonic_ns())),
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
    // Also when a child has ended: there may always be one.
    if deadline.is_some_and(|at| monotonic_ns() >= at) {
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
fn linger(plan: &Blueprint, supervisor: BorrowedFd<'_>, main: &Main, deadline: Option<u64>) -> i32 {
    let mut round = Round::Unfinished;
    loop {
        match pause(plan, main, deadline, round) {
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
