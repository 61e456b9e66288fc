//! A point in time that means the same to the next process, and to the next boot.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::error::Error;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// When something was. The wall clock is for people; durations are taken by the boot clock wherever both ends are of
/// one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// RFC 3339, UTC, whole milliseconds.
    pub wall: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// `CLOCK_BOOTTIME`, in milliseconds: goes on while the machine sleeps.
    pub boottime_ms: u64,
}

impl Moment {
    /// Now.
    ///
    /// # Errors
    /// `/proc/sys/kernel/random/boot_id` cannot be read.
    pub fn now() -> Result<Self, Error> {
        let boot_id = std::fs::read_to_string(BOOT_ID).map_err(|source| Error::ReadKernel { path: BOOT_ID, source })?;
        let now = clock_gettime(ClockId::Boottime);
        Ok(Self {
            wall: rfc3339(SystemTime::now()),
            boot_id: boot_id.trim_end().to_owned(),
            boottime_ms: now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000,
        })
    }

    /// How long ago `earlier` was, by the boot clock; none when it was on another boot.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Duration> {
        (self.boot_id == earlier.boot_id)
            .then(|| Duration::from_millis(self.boottime_ms.saturating_sub(earlier.boottime_ms)))
    }

    /// How long ago `earlier` was, across a boot by the wall clock: to be shown, never to decide by.
    #[must_use]
    pub fn shown_since(&self, earlier: &Self) -> Option<Duration> {
        self.since(earlier).or_else(|| {
            let parse = |text: &str| humantime::parse_rfc3339(text).ok();
            parse(&self.wall)?.duration_since(parse(&earlier.wall)?).ok()
        })
    }
}

pub(crate) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: &str, boot: &str, ms: u64) -> Moment {
        Moment { wall: wall.to_owned(), boot_id: boot.to_owned(), boottime_ms: ms }
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_change_a_duration_within_a_boot() {
        let earlier = at("2026-01-01T00:00:10.000Z", "a", 1000);
        assert_eq!(at("2020-01-01T00:00:00.000Z", "a", 4000).since(&earlier), Some(Duration::from_secs(3)));
        assert_eq!(at("2026-01-01T00:01:10.000Z", "b", 5).since(&earlier), None);
        assert_eq!(at("2026-01-01T00:01:10.000Z", "b", 5).shown_since(&earlier), Some(Duration::from_secs(60)));
        assert_eq!(at("2025-01-01T00:01:10.000Z", "b", 5).shown_since(&earlier), None);
    }
}
