//! Boxes that were prepared: what a run pays that finds one, and how many a machine gets through.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::contender::Stage;
use super::killing::cgroup2;
use super::stats::percentile;
use crate::command;

/// Medians and 95th percentiles in microseconds; runs per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warm {
    /// From the request to the payload's end.
    pub(crate) p50_us: f64,
    pub(crate) p95_us: f64,
    /// vfork, exec, wait in C.
    pub(crate) bare_p50_us: f64,
    /// With as many workers as there are processors, down to the proof of the last one.
    pub(crate) per_second: f64,
    /// The same number of C loops.
    pub(crate) c_per_second: f64,
}

/// How long the C loops run, in seconds.
const SECONDS: &str = "3";

/// Runs so many jobs through `rustbox batch`, and the C programs before and after.
pub(crate) fn run(stage: &Stage, spawner: &Path, boxloop: &Path, runs: usize) -> Result<Warm> {
    let bare = spawn_times(stage, spawner, runs)?;
    // One worker: nothing but the run itself is between request and end.
    let (times, _) = batch(stage, runs, 1)?;
    let again = spawn_times(stage, spawner, runs)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (_, per_second) = batch(stage, runs, workers)?;
    Ok(Warm {
        p50_us: percentile(&times, 50),
        p95_us: percentile(&times, 95),
        bare_p50_us: percentile(&[bare, again].concat(), 50),
        per_second,
        c_per_second: c_loops(stage, boxloop, workers)?,
    })
}

fn spawn_times(stage: &Stage, spawner: &Path, runs: usize) -> Result<Vec<f64>> {
    let text = command::output(Command::new(spawner).arg(runs.to_string()).arg(&stage.nothing))?;
    text.lines().map(|line| Ok(line.parse::<f64>().context("the spawner's nanoseconds")? / 1e3)).collect()
}

/// Runs the jobs; the time from each request to its payload's end, and jobs per second without start and end of the pool.
fn batch(stage: &Stage, runs: usize, workers: usize) -> Result<(Vec<f64>, f64)> {
    let path = stage.directory.join("jobs");
    let job = json!({"argv": ["/program"], "ro_bind": [format!("{}:/program", stage.nothing.display())]});
    fs::write(&path, format!("{job}\n").repeat(runs)).context("write the jobs")?;
    let words = stage.rustbox();
    let mut batch = Command::new(words.first().map_or("", String::as_str));
    batch.args(words.get(1..).unwrap_or_default()).arg("batch").arg(&path);
    batch.args(["--unordered", "--workers", &workers.to_string()]).stdin(Stdio::null());
    let output = batch.output().context("start rustbox batch")?;
    if !output.status.success() {
        bail!("rustbox batch: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let results: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).context("read a result")).collect::<Result<_>>()?;
    let field = |result: &Value, name: &str| result["report"]["timings"][name].as_f64().unwrap_or(0.0);
    let times = results.iter().map(|result| (field(result, "setup_ns") + field(result, "run_ns")) / 1e3).collect();
    Ok((times, rate(&String::from_utf8_lossy(&output.stderr))?))
}

/// What the last line of a batch says: `..., 123 per second, ...`.
fn rate(stderr: &str) -> Result<f64> {
    let line = stderr.lines().rev().find(|line| line.contains(" per second")).context("a batch tells its rate")?;
    let words = line.split(", ").find_map(|part| part.strip_suffix(" per second")).context("a rate")?;
    words.trim().parse().with_context(|| format!("read the rate {words:?}"))
}

fn c_loops(stage: &Stage, boxloop: &Path, workers: usize) -> Result<f64> {
    let root = cgroup2().context("no cgroup2 mount")?;
    let mut loops = Vec::new();
    for _ in 0..workers {
        let mut one = Command::new(boxloop);
        one.args([SECONDS.as_ref(), stage.nothing.as_os_str(), root.as_os_str()]).args(v1_roots());
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
