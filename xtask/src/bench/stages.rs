//! Where the time of one run of ours goes, by the events that it tells itself.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::contender::{Stage, strings};
use super::stats::percentile;

/// One step of a run, with the time since the step before it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) p50_us: f64,
    pub(crate) p95_us: f64,
}

/// Runs the program so often, and returns the steps in their order.
pub(crate) fn breakdown(stage: &Stage, runs: usize) -> Result<Vec<Step>> {
    let mut names: Vec<String> = Vec::new();
    let mut times: Vec<Vec<f64>> = Vec::new();
    for _ in 0..runs {
        for (index, (name, us)) in steps(&one(stage, &stage.nothing, &[])?).into_iter().enumerate() {
            if names.len() == index {
                names.push(name);
                times.push(Vec::new());
            }
            if let Some(times) = times.get_mut(index) {
                times.push(us);
            }
        }
    }
    let step = |(name, us): (String, Vec<f64>)| Step { name, p50_us: percentile(&us, 50), p95_us: percentile(&us, 95) };
    Ok(names.into_iter().zip(times).map(step).collect())
}

/// The events of one run, the report last.
pub(crate) fn one(stage: &Stage, program: &std::path::Path, arguments: &[&str]) -> Result<Vec<Value>> {
    // The payload writes nothing, so standard output is ours.
    let words = stage.run(program);
    let flags = strings(&["--status-fd", "1", "--pids", "4096", "--mem", "2G"]);
    let at = words.iter().position(|word| word == "run").map_or(0, |at| at + 1);
    let mut command = Command::new(words.first().map_or("", String::as_str));
    command.args(words.get(1..at).unwrap_or_default()).args(flags).args(words.get(at..).unwrap_or_default());
    let output = command.args(arguments).stdin(Stdio::null()).output().context("start rustbox")?;
    if !output.status.success() {
        bail!("rustbox: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().map(|line| serde_json::from_str(line).context("read an event")).collect()
}

/// When an event took place, in microseconds since the box was asked for.
pub(crate) fn at_us(events: &[Value], name: &str) -> Option<f64> {
    let event = events.iter().find(|event| event["event"] == name)?;
    event["at_ns"].as_f64().map(|ns| ns / 1e3)
}

fn steps(events: &[Value]) -> Vec<(String, f64)> {
    let mut last = 0.0;
    let timed = events.iter().filter_map(|event| Some((event["event"].as_str()?, event["at_ns"].as_f64()? / 1e3)));
    let step = |(name, at): (&str, f64)| (name.to_owned(), at - std::mem::replace(&mut last, at));
    timed.map(step).collect()
}
