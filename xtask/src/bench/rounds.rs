//! The rounds: in each one every contender runs once, in a new order.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use super::contender::Contender;
use super::stats::{Samples, Shuffle};

/// Rounds that are run first and not counted, for caches to fill.
const WARM_UP: usize = 3;

/// Runs the rounds; one set of samples for each contender, in their order.
pub(crate) fn run(contenders: &[Contender], rounds: usize, shuffle: &mut Shuffle) -> Result<Vec<Samples>> {
    let mut samples = vec![Samples::default(); contenders.len()];
    for round in 0..rounds + WARM_UP {
        for index in shuffle.order(contenders.len()) {
            let (Some(contender), Some(samples)) = (contenders.get(index), samples.get_mut(index)) else { continue };
            match once(contender) {
                Ok((wall, cpu)) if round >= WARM_UP => samples.add(wall, cpu),
                Ok(_) => {}
                // Of another's sandbox one run less is counted; ours has to work every time.
                Err(error) if contender.is_ours() => return Err(error),
                Err(error) => println!("not counted: {error:#}"),
            }
        }
    }
    Ok(samples)
}

/// One run: from before the spawn until it is reaped.
fn once(contender: &Contender) -> Result<(Duration, Duration)> {
    let mut command = contender.command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let before = cpu()?;
    let start = Instant::now();
    let status = command.status().with_context(|| format!("start {}", contender.name))?;
    let wall = start.elapsed();
    if !status.success() {
        bail!("{}: {status}: {}", contender.name, contender.text());
    }
    Ok((wall, cpu()?.saturating_sub(before)))
}

/// CPU time of everything that was waited for so far.
fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}
