//! A worker that is taken out, recovers and is put back, by the program's own commands on the real host.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers as well")]

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[path = "../cli/sandbox.rs"]
#[expect(dead_code, reason = "the other tests of this program use the rest of it")]
mod sandbox;

/// Whether a host is clean is a question about the whole of it, and one test lets a process out of its box.
static HOST: RwLock<()> = RwLock::new(());

/// Held by tests that ask.
fn undisturbed() -> RwLockReadGuard<'static, ()> {
    HOST.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held by the test that lets a process out.
fn disturbed() -> RwLockWriteGuard<'static, ()> {
    HOST.write().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the worker back. Whether a host is clean is a question about the whole host, so that a dead box which somebody else
/// is about to collect is waited for.
fn unquarantine(sandbox: &sandbox::Sandbox, reason: &str) -> sandbox::Said {
    const ATTEMPTS: usize = 50;
    let mut said = sandbox.rustbox(["health", "--unquarantine", "--reason", reason]);
    for _ in 0..ATTEMPTS {
        let is_ours = said.stderr.contains(sandbox.path().to_str().unwrap());
        if said.code == Some(0) || is_ours {
            break;
        }
        said = sandbox.rustbox(["health", "--unquarantine", "--reason", reason]);
    }
    said
}

mod hostile;
mod many;
mod operator;
mod queue;
mod runbooks;
mod served;
