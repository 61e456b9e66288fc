//! How many jobs of batches wait, as the metrics tell it.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::Sandbox;

const SERIES: &str = "rustbox_batch_queue_depth ";
/// For boxes to be made and ended on a host that does other things.
const LIMIT: Duration = Duration::from_secs(30);

fn depth(sandbox: &Sandbox) -> u64 {
    let text = sandbox.rustbox(["metrics"]).stdout;
    let line = text.lines().find_map(|line| line.strip_prefix(SERIES));
    line.unwrap_or_else(|| panic!("no {SERIES}in\n{text}")).parse().unwrap()
}

/// Asks until that many wait; each question takes milliseconds.
fn await_depth(sandbox: &Sandbox, expected: u64, why: &str) {
    let deadline = Instant::now() + LIMIT;
    let mut found = depth(sandbox);
    while found != expected && Instant::now() < deadline {
        found = depth(sandbox);
    }
    assert_eq!(found, expected, "{why}");
}

fn jobs(sandbox: &Sandbox, name: &str, code: &str, count: usize) -> std::path::PathBuf {
    let line = format!("{{\"code\": \"{code}\", \"run\": {{\"wall_time\": \"90s\"}}}}\n");
    sandbox.file(name, &line.repeat(count))
}

fn start(sandbox: &Sandbox, jobs: &Path) -> Child {
    let mut command = sandbox.command();
    command.args(["batch", "--workers", "2"]).arg(jobs).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

// R04, QR02: two run, two wait for a worker, and the one that was read after them waits for room.
#[test]
fn the_depth_of_a_queue_is_that_of_the_batches_that_live() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    assert_eq!(depth(&sandbox), 0, "before the first batch");
    let mut long = start(&sandbox, &jobs(&sandbox, "long", "sleep 80", 20));
    await_depth(&sandbox, 3, "the queue is full");
    let mut short = start(&sandbox, &jobs(&sandbox, "short", "sleep 80", 3));
    await_depth(&sandbox, 4, "one of three more waits");
    long.kill().unwrap();
    long.wait().unwrap();
    await_depth(&sandbox, 1, "a batch that was killed has no queue");
    kill_process(Pid::from_child(&short), Signal::TERM).unwrap();
    short.wait().unwrap();
    assert_eq!(depth(&sandbox), 0, "a batch that was interrupted has no queue");
    let status = start(&sandbox, &jobs(&sandbox, "all", "true", 12)).wait().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(depth(&sandbox), 0, "after the end of a batch");
    let said = sandbox.rustbox(["health", "--recover"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}
