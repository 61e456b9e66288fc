//! Asks a Prometheus that has scraped this rustbox while it ran boxes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Answer, Asked, Tools};
use crate::command;

/// For Prometheus to start and to scrape a few times, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Boxes that are run between two scrapes.
const RUNS: u32 = 2;

/// A server of ours, which ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only for a process that has already ended and was waited for.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Starts both servers, runs boxes between two scrapes, and has every expression answered.
pub(super) fn ask(tools: &Tools, rustbox: &Path, directory: &Path, asked: &[Asked]) -> Result<()> {
    let started = Instant::now();
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let state = directory.join("state");
    let worker = Worker { rustbox, state: &state };
    worker.run_a_box()?;
    let (_metrics, address) = worker.serve()?;
    let (_prometheus, url) = start(tools, directory, &address)?;
    let prometheus = Asker { promtool: &tools.promtool, url };
    // Every rate needs a sample from before the runs and one from after them.
    prometheus.await_that("rustbox_executions_total == 1")?;
    let audited = worker.work()?;
    prometheus.await_that(&format!("rustbox_executions_total == {}", RUNS + 1))?;
    prometheus.await_that("sum(rate(rustbox_executions_by_status{status=\"OK\"}[5m])) > 0")?;
    let mut with_series = 0;
    for Asked { expression, answer } in asked {
        let series = prometheus.answer(expression)?;
        with_series += usize::from(series > 0);
        // On a host where somebody else's box is being ended just now an audit is not clean, and the time of the last one is unknown.
        let may_be_empty = *answer == Answer::Any || (!audited && expression.contains("audit_last_success"));
        if series == 0 && !may_be_empty {
            bail!("Prometheus answers with no series: {expression}");
        }
    }
    // The control: an answer without series is seen as one.
    if prometheus.answer("rustbox_executions_total == -1")? != 0
        || prometheus.answer("rate(rustbox_executions_total)").is_ok()
    {
        bail!("Prometheus is not understood: what is empty or wrong reads like an answer");
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{} expressions were answered by Prometheus, {with_series} with series, in {seconds:.1} s", asked.len());
    Ok(())
}

/// The worker that is scraped.
struct Worker<'a> {
    rustbox: &'a Path,
    state: &'a Path,
}

impl Worker<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.rustbox);
        command.arg("--state-dir").arg(self.state).args(words).stdin(Stdio::null());
        command
    }

    fn run_a_box(&self) -> Result<()> {
        command::run(&mut self.command(&["run", "--quiet", "--", "true"]))
    }

    /// Audits, and runs boxes; whether the audit found nothing.
    fn work(&self) -> Result<bool> {
        // First, so that who has seen the runs has seen it too.
        let audited = self.command(&["audit"]).stdout(Stdio::null()).status().context("start rustbox audit")?;
        (0..RUNS).try_for_each(|_| self.run_a_box())?;
        Ok(audited.success())
    }

    /// Serves the metrics, at a port that the kernel chooses.
    fn serve(&self) -> Result<(Server, String)> {
        let mut command = self.command(&["metrics", "--listen", "127.0.0.1:0"]);
        let mut server = Server(command.stderr(Stdio::piped()).spawn().context("start rustbox metrics")?);
        let said = server.0.stderr.take().context("the server's words")?;
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).context("read where rustbox metrics listens")?;
        let address = line.trim().strip_prefix("rustbox: listening on ").context("where rustbox metrics listens")?;
        Ok((server, address.to_owned()))
    }
}

/// Prometheus, with the worker as its one target.
fn start(tools: &Tools, directory: &Path, target: &str) -> Result<(Server, String)> {
    let config = directory.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: rustbox\n  static_configs: [{{targets: ['{target}']}}]\n"
    );
    fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
    // It has no way to say which port the kernel chose: free a moment ago is as good as it gets.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("find a port")?;
    let log = directory.join("prometheus.log");
    let log = fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let mut command = Command::new(&tools.prometheus);
    command.arg("--config.file").arg(&config).arg("--storage.tsdb.path").arg(directory.join("series"));
    command.args(["--web.listen-address", &port.to_string()]);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let server = Server(command.spawn().context("start prometheus")?);
    Ok((server, format!("http://{port}")))
}

/// Asks by Prometheus's HTTP interface.
struct Asker<'a> {
    promtool: &'a PathBuf,
    url: String,
}

impl Asker<'_> {
    /// How many series an expression is answered with; fails when it is refused.
    fn answer(&self, expression: &str) -> Result<usize> {
        let mut query = Command::new(self.promtool);
        query.args(["query", "instant", "--format", "json", &self.url, expression]).stdin(Stdio::null());
        let output = query.output().context("start promtool")?;
        if !output.status.success() {
            bail!("Prometheus refuses {expression}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).context("parse Prometheus's answer")?;
        Ok(answer.as_array().with_context(|| format!("a list of series, and not {answer}"))?.len())
    }

    /// Asks until there is an answer with series; each question starts a program, which takes its time.
    fn await_that(&self, expression: &str) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = self.answer(expression);
            if matches!(answer, Ok(series) if series > 0) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let why = answer.map_or_else(|error| format!("{error:#}"), |_| "no series".to_owned());
                bail!("Prometheus has not seen within {} s that {expression}: {why}", LIMIT.as_secs());
            }
        }
    }
}
