//! What a look at the host costs, beside the operators' own tool, on this many more idle processes.
//!
//! `cargo run --release -p rustbox-audit --example scan_cost -- 1000`
//!
//! The two are measured in turn, so that a change of the host's load hits both; medians are printed.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustbox_audit::{AuditError, BoxMarks, Phase, PidNamespaceMark, ProcRoot, ProcSnapshot, Registry};

/// Measurements of each kind: enough for a median.
const ROUNDS: usize = 21;

/// Idle processes that end with this example.
struct Crowd(Vec<Child>);

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _gone = child.kill();
        }
        for child in &mut self.0 {
            let _status = child.wait();
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn registry(with_sessions: Option<u32>) -> Result<Registry, Box<dyn std::error::Error>> {
    let mut marks = BoxMarks::new("measured".parse()?, Phase::Live);
    marks.pid_namespace = Some(PidNamespaceMark::recorded(1));
    marks.audit_session = with_sessions;
    Ok(Registry { boxes: vec![marks], ..Registry::default() })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: usize = std::env::args().nth(1).map_or(Ok(1000), |text| text.parse())?;
    let sleep = || Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn();
    let mut crowd = Crowd(Vec::new());
    for _ in 0..count {
        crowd.0.push(sleep()?);
    }
    let root = ProcRoot::open_host()?;
    let by_namespace = registry(None)?;
    let by_session = registry(Some(7))?;
    let (mut lean, mut full, mut ps) = (Vec::new(), Vec::new(), Vec::new());
    let mut listed = 0;
    for _ in 0..ROUNDS {
        let timed = |registry: &Registry| -> Result<(Duration, usize), AuditError> {
            let start = Instant::now();
            let pids = ProcSnapshot::take(&root, registry)?.pids.len();
            Ok((start.elapsed(), pids))
        };
        lean.push(timed(&by_namespace)?.0);
        let (time, pids) = timed(&by_session)?;
        full.push(time);
        listed = pids;
        let start = Instant::now();
        Command::new("ps").args(["-eo", "pid,ppid,stat,cgroup,pidns"]).stdout(Stdio::null()).status()?;
        ps.push(start.elapsed());
    }
    let (lean, full, ps) = (median(lean), median(full), median(ps));
    println!("{listed} processes, medians of {ROUNDS}:");
    println!("  look by PID namespace                  {lean:>10.2?}");
    println!("  look by PID namespace and session id   {full:>10.2?}");
    println!(
        "  ps -eo pid,ppid,stat,cgroup,pidns      {ps:>10.2?}, {:.1} times a look",
        ps.as_secs_f64() / full.as_secs_f64()
    );
    Ok(())
}
