//! Waiting for nothing but time: only where the kernel has no event to wait for.

use std::time::Duration;

use rustix::event::{Timespec, poll};

/// Lets time pass, at most this much.
pub(crate) fn pause(length: Duration) {
    let Ok(timeout) = Timespec::try_from(length) else { return };
    // A signal ends the wait early, and whoever waits looks again anyway.
    let _early = poll(&mut [], Some(&timeout));
}
