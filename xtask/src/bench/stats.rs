//! Percentiles and ratios of what was measured.

use std::time::Duration;

/// What one contender needed, run by run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    /// Wall time of the whole process, in milliseconds.
    wall_ms: Vec<f64>,
    /// CPU time of the process and of everything below it that was waited for, in milliseconds.
    cpu_ms: Vec<f64>,
}

impl Samples {
    pub(crate) fn add(&mut self, wall: Duration, cpu: Duration) {
        self.wall_ms.push(wall.as_secs_f64() * 1e3);
        self.cpu_ms.push(cpu.as_secs_f64() * 1e3);
    }

    pub(crate) fn count(&self) -> usize {
        self.wall_ms.len()
    }

    /// The wall time that so many hundredths of the runs did not exceed.
    pub(crate) fn wall(&self, percent: usize) -> f64 {
        percentile(&self.wall_ms, percent)
    }

    /// The median of CPU time.
    pub(crate) fn cpu(&self) -> f64 {
        percentile(&self.cpu_ms, 50)
    }
}

/// Nearest rank; 0 where nothing was measured.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len().max(1));
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

/// A generator for the order of the rounds; the seed is printed, so that an order can be had again.
#[derive(Debug)]
pub(crate) struct Shuffle(pub(crate) u64);

impl Shuffle {
    fn next(&mut self) -> u64 {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The numbers below `count`, in a random order.
    pub(crate) fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            let bound = u64::try_from(last + 1).unwrap_or(1);
            let other = usize::try_from(self.next() % bound).unwrap_or(0);
            order.swap(last, other);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert!((percentile(&values, 50) - 2.0).abs() < 1e-9);
        assert!((percentile(&values, 95) - 4.0).abs() < 1e-9);
        assert!(percentile(&[], 50).abs() < 1e-9);
    }

    #[test]
    fn an_order_has_every_number_once() {
        let mut order = Shuffle(7).order(20);
        order.sort_unstable();
        assert_eq!(order, (0..20).collect::<Vec<_>>());
    }
}
