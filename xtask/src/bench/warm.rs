//! Boxes that were prepared: what a run pays that finds one, and how many a machine gets through.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::contender::Stage;
use super::killing::cgroup2;
use super::stats::percentile;
use crate::command::output;

/// Medians and 95th percentiles in microseconds; runs per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warm {
    /// From the request to the payload's end, of requests that come one at a time.
    pub(crate) p50_us: f64,
    pub(crate) p95_us: f64,
    /// vfork, exec, wait in C, with the same pauses.
    pub(crate) bare_p50_us: f64,
    pub(crate) bare_p95_us: f64,
    /// From the request to the payload's end while other boxes are ended and prepared.
    pub(crate) busy_p50_us: f64,
    pub(crate) busy_p95_us: f64,
    /// With as many workers as there are processors, down to the proof of the last one.
    pub(crate) per_second: f64,
    /// The same number of C loops that make bare boxes.
    pub(crate) c_per_second: f64,
    /// And of those that make full ones.
    pub(crate) c_full_per_second: f64,
}

/// How long the C loops run, in seconds.
const SECONDS: &str = "3";

/// Between the end of one request and the next, so that the box for it is there and nothing else is at work.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs so many jobs through `rustbox batch`, and the C programs before and after.
pub(crate) fn run(stage: &Stage, spawner: &Path, boxloop: &Path, runs: usize) -> Result<Warm> {
    let bare = spawn_times(stage, spawner, runs)?;
    let times = one_at_a_time(stage, runs)?;
    let bare = [bare, spawn_times(stage, spawner, runs)?].concat();
    let (busy, _) = batch(stage, runs, 1)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (_, per_second) = batch(stage, runs, workers)?;
    Ok(Warm {
        p50_us: percentile(&times, 50),
        p95_us: percentile(&times, 95),
        bare_p50_us: percentile(&bare, 50),
        bare_p95_us: percentile(&bare, 95),
        busy_p50_us: percentile(&busy, 50),
        busy_p95_us: percentile(&busy, 95),
        per_second,
        c_per_second: c_loops(stage, boxloop, "bare", workers)?,
        c_full_per_second: c_loops(stage, boxloop, "full", workers)?,
    })
}

fn spawn_times(stage: &Stage, spawner: &Path, runs: usize) -> Result<Vec<f64>> {
    let text =
        output(Command::new(spawner).args([runs.to_string(), PAUSE.as_micros().to_string()]).arg(&stage.nothing))?;
    text.lines().map(|line| Ok(line.parse::<f64>().context("the spawner's nanoseconds")? / 1e3)).collect()
}

fn job(stage: &Stage) -> String {
    let bind = format!("{}:/program", stage.nothing.display());
    format!("{}\n", json!({"argv": ["/program"], "ro_bind": [bind]}))
}

/// `rustbox batch` with these words after it.
fn command(stage: &Stage, words: &[&str]) -> Command {
    let ours = stage.rustbox();
    let mut batch = Command::new(ours.first().map_or("", String::as_str));
    batch.args(ours.get(1..).unwrap_or_default()).arg("batch").args(words);
    batch
}

/// The time from a request to its payload's end.
fn time_us(line: &str) -> Result<f64> {
    let result: Value = serde_json::from_str(line).with_context(|| format!("read a result: {line}"))?;
    let field = |name: &str| result["report"]["timings"][name].as_f64().with_context(|| format!("no {name}: {line}"));
    Ok((field("setup_ns")? + field("run_ns")?) / 1e3)
}

/// Writes one request, reads its result, and pauses, so often.
fn one_at_a_time(stage: &Stage, runs: usize) -> Result<Vec<f64>> {
    let said = stage.directory.join("said");
    let mut batch = command(stage, &["-", "--workers", "1"]);
    let stderr = fs::File::create(&said).with_context(|| format!("make {}", said.display()))?;
    let batch = batch.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
    let mut batch = batch.spawn().context("start rustbox batch")?;
    let times = converse(stage, &mut batch, runs);
    // It ends with its requests, which are closed by now.
    let status = batch.wait().context("wait for rustbox batch")?;
    if !status.success() {
        bail!("rustbox batch: {status}: {}", fs::read_to_string(&said).unwrap_or_default());
    }
    times
}

/// The requests and results of [`one_at_a_time`]; the requests are closed when this returns.
fn converse(stage: &Stage, batch: &mut Child, runs: usize) -> Result<Vec<f64>> {
    let (requests, results) = (batch.stdin.take(), batch.stdout.take());
    let (mut requests, mut results) = requests.zip(results.map(BufReader::new)).context("the ends of two pipes")?;
    let mut times = Vec::new();
    for _ in 0..runs {
        requests.write_all(job(stage).as_bytes()).context("write a request")?;
        let mut line = String::new();
        results.read_line(&mut line).context("read a result")?;
        times.push(time_us(&line)?);
        std::thread::park_timeout(PAUSE);
    }
    Ok(times)
}

/// Runs the jobs; the time from each request to its payload's end, and jobs per second without start and end of the pool.
fn batch(stage: &Stage, runs: usize, workers: usize) -> Result<(Vec<f64>, f64)> {
    let path = stage.directory.join("jobs");
    fs::write(&path, job(stage).repeat(runs)).context("write the jobs")?;
    let mut batch = command(stage, &["--unordered", "--workers", &workers.to_string()]);
    let output = batch.arg(&path).stdin(Stdio::null()).output().context("start rustbox batch")?;
    if !output.status.success() {
        bail!("rustbox batch: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let times = text.lines().map(time_us).collect::<Result<_>>()?;
    Ok((times, rate(&String::from_utf8_lossy(&output.stderr))?))
}

/// What the last line of a batch says: `..., 123 per second, ...`.
fn rate(stderr: &str) -> Result<f64> {
    let line = stderr.lines().rev().find(|line| line.contains(" per second")).context("a batch tells its rate")?;
    let words = line.split(", ").find_map(|part| part.strip_suffix(" per second")).context("a rate")?;
    words.trim().parse().with_context(|| format!("read the rate {words:?}"))
}

fn c_loops(stage: &Stage, boxloop: &Path, kind: &str, workers: usize) -> Result<f64> {
    let root = cgroup2().context("no cgroup2 mount")?;
    let mut loops = Vec::new();
    for _ in 0..workers {
        let mut one = Command::new(boxloop);
        one.args([SECONDS.as_ref(), stage.nothing.as_os_str(), kind.as_ref(), root.as_os_str()]).args(v1_roots());
        loops.push(one.stdout(Stdio::piped()).spawn().context("start the C loop")?);
    }
    let mut sum = 0.0;
    for one in loops {
        let output = one.wait_with_output().context("wait for the C loop")?;
        if !output.status.success() {
            bail!("the C loop: {}", output.status);
        }
        sum += String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().context("boxes per second")?;
    }
    Ok(sum)
}

/// The v1 hierarchies that a box of ours is in.
fn v1_roots() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let has = |line: &str| line.contains(" - cgroup ") && ["memory", "pids"].iter().any(|name| line.ends_with(name));
    mounts.lines().filter(|line| has(line)).filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_the_last_line() -> Result<()> {
        let said = "warning\nrustbox: batch: 300 of 300 done, 123 per second, 0 queued, 4 boxes ready\n";
        assert!((rate(said)? - 123.0).abs() < 1e-9);
        Ok(())
    }
}
