//! Runs per second, with several workers at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::contender::Contender;

/// Runs the contender so often, by so many workers that each wait for their own; runs per second.
pub(crate) fn run(contender: &Contender, workers: usize, runs: usize) -> Result<f64> {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        break;
                    }
                    let status = contender.numbered(number).command().stdin(std::process::Stdio::null()).status();
                    if !status.is_ok_and(|status| status.success()) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let failed = failed.load(Ordering::Relaxed);
    if failed > 0 {
        let what = format!("{}: {failed} of {runs} runs failed", contender.name);
        if contender.is_ours() {
            bail!("{what}");
        }
        println!("not counted: {what}");
    }
    let runs = u32::try_from(runs - failed).context("too many runs")?;
    Ok(f64::from(runs) / seconds)
}
