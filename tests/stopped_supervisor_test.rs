//! A supervisor that is stopped can neither kill nor time anything. What it started is held all the same, by the
//! kernel and by the box's init. D10, S63.

use std::time::{Duration, Instant};

use rustbox_tests::{CgroupLayout, Lab, RunningBox, in_guest, wait_until};
use rustix::process::Signal;

/// Until the init has noticed that the wall limit is over and that nobody kills: half a second of grace, and what a busy
/// host takes.
const BACKSTOP: Duration = Duration::from_secs(8);

/// Whether any process of the box is alive, by the kernel's lists.
fn is_populated(running: &RunningBox<'_>) -> bool {
    let directories = CgroupLayout::read().directories(&format!("rustbox-{}", running.box_id()));
    let procs = |d: &std::path::PathBuf| std::fs::read_to_string(d.join("cgroup.procs")).unwrap_or_default();
    directories.iter().any(|d| !procs(d).is_empty())
}

/// Stops the supervisor once its payload is at work, and waits for the box to die without it.
fn ends_behind_a_stopped_supervisor(running: RunningBox<'_>, cause: &str) {
    running.await_output("armed:");
    assert!(is_populated(&running), "no box");
    running.signal(Signal::STOP);
    let begun = Instant::now();
    let limit = if in_guest() { BACKSTOP * 5 } else { BACKSTOP };
    let empty = wait_until(limit, || (!is_populated(&running)).then_some(()));
    let took = begun.elapsed();
    running.signal(Signal::CONT);
    let ended = running.finish();
    assert!(empty.is_some(), "the box outlives its limit, for {took:?}, while its supervisor is stopped: {ended}");
    ended.assert_contained().assert_verdict("TLE", cause, 124);
}

#[test]
fn the_wall_limit_holds_behind_a_stopped_supervisor() {
    let lab = Lab::open("stopped-wall");
    // A main process that sleeps beside a daemon, and one beside a pair that forks for ever.
    for name in ["contain_daemon", "contain_respawning_pair"] {
        let running = lab.a_box().attack(name, &["stay"]).flags(["--wall-time", "1"]).start();
        ends_behind_a_stopped_supervisor(running, "tle_wall");
    }
}

#[test]
fn the_cpu_limit_of_a_process_holds_behind_a_stopped_supervisor() {
    let lab = Lab::open("stopped-cpu");
    let running = lab.a_box().attack("contain_busy_loop", &[]).flags(["--time", "500ms"]).start();
    ends_behind_a_stopped_supervisor(running, "tle_cpu");
}
