//! Time: the monotonic clock decides, the wall clock is only written down.

use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// When a run was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_monotonic_ns: u64,
    started_at: SystemTime,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), start_monotonic_ns: monotonic_ns(), started_at: SystemTime::now() }
    }

    /// Nanoseconds since the run was asked for.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        nanoseconds(self.start.elapsed())
    }

    /// A moment told by another process, as nanoseconds since the run was asked for.
    pub(crate) fn since_start_ns(&self, monotonic_ns: u64) -> u64 {
        monotonic_ns.saturating_sub(self.start_monotonic_ns)
    }

    /// When the run was asked for, RFC 3339, UTC.
    pub(crate) fn started_at(&self) -> String {
        rfc3339(self.started_at)
    }
}

/// Now, RFC 3339, UTC.
pub(crate) fn now_rfc3339() -> String {
    rfc3339(SystemTime::now())
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// A duration that fits: 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `CLOCK_MONOTONIC`, the clock that init's records are written by.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
