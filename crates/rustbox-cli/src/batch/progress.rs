//! What a batch says while it runs: on a terminal, one line that is written over.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Shortest time between two lines.
pub(super) const EVERY: Duration = Duration::from_millis(200);

/// What is known of a batch now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Now {
    /// Jobs that had a result before.
    pub(super) before: u64,
    /// Jobs that were run since.
    pub(super) done: u64,
    pub(super) failed: u64,
    /// Jobs in the file, where that is known.
    pub(super) total: Option<u64>,
    /// Jobs that were read and wait for a box.
    pub(super) queued: u64,
    /// Boxes that wait for a job.
    pub(super) waiting: u64,
}

/// The line on the terminal, if standard error is one.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
    start: Instant,
    last: Option<Instant>,
}

impl Progress {
    /// `results_apart` says that the results do not go where the line does.
    pub(super) fn start(results_apart: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && (results_apart || !std::io::stdout().is_terminal());
        Self { terminal, start: Instant::now(), last: None }
    }

    pub(super) fn show(&mut self, now: &Now) {
        if self.terminal && self.last.is_none_or(|last| last.elapsed() >= EVERY) {
            self.last = Some(Instant::now());
            let text = line(now, self.start.elapsed());
            // When nobody can be told there is nobody to tell.
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    }

    /// Ends the line.
    pub(super) fn finish(self, now: &Now) -> String {
        if self.terminal && self.last.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        line(now, self.start.elapsed())
    }
}

fn line(now: &Now, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let count = |count: u64| u32::try_from(count).map_or(f64::MAX, f64::from);
    let rate = count(now.done) / seconds;
    let done = now.before + now.done;
    let mut text = format!("rustbox: batch: {done} done");
    if let Some(total) = now.total {
        text = format!("rustbox: batch: {done} of {total} done");
    }
    if now.failed > 0 {
        text.push_str(&format!(", {} without a report", now.failed));
    }
    text.push_str(&format!(", {rate:.0} per second, {} queued, {} boxes ready", now.queued, now.waiting));
    if let Some(left) = now.total.map(|total| total.saturating_sub(done)).filter(|left| *left > 0)
        && rate > 0.0
    {
        text.push_str(&format!(", {:.0} s to go", count(left) / rate));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_rate_queue_and_what_remains() {
        let now = Now { before: 0, done: 50, failed: 1, total: Some(150), queued: 4, waiting: 2 };
        let text = line(&now, Duration::from_secs(5));
        let said =
            "rustbox: batch: 50 of 150 done, 1 without a report, 10 per second, 4 queued, 2 boxes ready, 10 s to go";
        assert_eq!(text, said);
        // What was done before tells nothing of how fast it goes now.
        let resumed = line(&Now { before: 80, ..now }, Duration::from_secs(5));
        assert!(resumed.contains(": 130 of 150 done") && resumed.contains("10 per second"), "{resumed}");
        assert!(resumed.ends_with(", 2 s to go"), "{resumed}");
    }
}
