//! Runs between `clone3` and `execve`: no allocation, no lock, no `tracing`, no panic.
//!
//! The process that becomes the payload of a box that was prepared. It has taken off everything and was read back before
//! it says that the box is prepared; what is left to do when the program comes is what depends on it: streams, limits,
//! the exec. So a run that finds a box waiting pays for no fork, no filter and no credentials.
//!
//! It waits in `recvmsg` on the supervisor's socket, of which end-of-file is death. Its init, which polls the
//! supervisor's pidfd, takes it along in any case.

use std::os::fd::BorrowedFd;

use rustbox_core::Stage;
use rustbox_core::planted::{Bug, is};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::blueprint::PayloadPlan;
use crate::child::{self, Failure, NOT_STARTED, ToInit};
use crate::job::{self, JOB_BYTES, Room};
use crate::message::Message;
use crate::orders::Orders;
use crate::reap::Term;
use crate::sys;

/// Becomes the payload when its program comes, or returns the exit code of a process that could not.
#[inline(never)]
pub(crate) fn run(plan: &PayloadPlan, supervisor: BorrowedFd<'_>, init: ToInit<'_>) -> i32 {
    if let Err(failure) = child::become_powerless(plan, plan.stdio, &plan.cwd, supervisor) {
        return child::give_up(failure, supervisor);
    }
    let Some(init_cpu_ns) = child::wait_for_go(init) else { return NOT_STARTED };
    let mut record = [0; JOB_BYTES + 1];
    let mut room = Room::new();
    let prepared = sys::send_with_fds(supervisor, &Message::Prepared.encode(), &[]);
    let arrived = prepared.and_then(|()| sys::receive_with_fds(supervisor, &mut record, RecvFlags::empty()));
    let arrived = match arrived {
        Ok(arrived) if arrived.length > 0 => arrived,
        Ok(_) => {
            outlive_if_planted();
            return NOT_STARTED;
        }
        Err(errno) => return child::give_up(Failure::at(Stage::Release)(errno), supervisor),
    };
    let orders = job::orders(record.get(..arrived.length).unwrap_or_default(), &arrived.fds, &mut room);
    let orders = orders.ok_or_else(|| Failure::at(Stage::Release)(Errno::BADMSG));
    match orders.and_then(|orders| obey(plan, &orders, init).map(|()| orders)) {
        Ok(orders) => child::start(&orders, supervisor, init_cpu_ns),
        Err(failure) => child::give_up(failure, supervisor),
    }
}

/// What depends on the program.
fn obey(plan: &PayloadPlan, orders: &Orders<'_>, init: ToInit<'_>) -> Result<(), Failure> {
    // The way there was gone before the filter, which has no call for it.
    if orders.cwd != plan.cwd.as_c_str() {
        return Err(Failure::at(Stage::Chdir)(Errno::INVAL));
    }
    for (target, source) in (0..).zip(orders.stdio) {
        if let Some(source) = source {
            sys::duplicate_onto(sys::borrow(source), target).map_err(Failure::at(Stage::Descriptors))?;
        }
    }
    Term::tell(init.tell, orders.wait, orders.backstop_ns).map_err(Failure::at(Stage::Release))?;
    child::limit(orders.rlimits)
}

/// The defect on purpose would else be hidden by the end of the socket.
fn outlive_if_planted() {
    while is(Bug::NoDeathGuard) {
        let _ = rustix::event::poll(&mut [], None);
    }
}
