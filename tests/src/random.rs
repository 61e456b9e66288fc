//! Random numbers with a printed seed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A xorshift generator; `RUSTBOX_SEED` repeats a run.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Seeds from the environment or the clock, and prints the seed.
    #[must_use]
    pub fn from_environment() -> Self {
        let given = std::env::var("RUSTBOX_SEED").ok().and_then(|s| s.parse().ok());
        let clock =
            || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| u64::from(d.subsec_nanos()) << 20 | 1);
        let seed: u64 = given.unwrap_or_else(clock);
        eprintln!("seed: RUSTBOX_SEED={seed}");
        Self(seed.max(1))
    }

    /// Another generator, for another thread. Its state is no state that this one comes to next.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.draw().wrapping_mul(0x9E37_79B9_7F4A_7C15).max(1))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A duration below `most`.
    pub fn duration(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.draw() % most)
    }
}
