//! P1-RACE-001: no instruction of a payload runs before it sits in its cgroup.
//!
//! The payload forks, or allocates, as its very first act. What was born before the attach would sit
//! outside, and what was touched before it would not be charged. Both are read from the host. S08, S57-S60.
#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers as well")]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use rustbox_tests::{CgroupLayout, Lab, Pen, SeenProcess, how_often, scan, wait_until};

/// `RUSTBOX_RACE_SPAWNS` sets another number; a nightly run takes 10,000.
fn spawns() -> usize {
    how_often("RUSTBOX_RACE_SPAWNS", 1000)
}

/// Boxes that are alive at the same time: so many are started, looked at together, and ended.
const ROUND: usize = 25;

/// Every line of `/proc/PID/cgroup` that belongs to a hierarchy in which the box has a directory.
fn assert_inside(process: &SeenProcess, name: &str, layout: &CgroupLayout) -> usize {
    let mut checked = 0;
    for root in layout.roots().filter(|root| root.join(name).is_dir()) {
        let procs = std::fs::read_to_string(root.join(name).join("cgroup.procs")).expect("cgroup.procs");
        let member = procs.lines().any(|l| l.parse() == Ok(process.pid));
        assert!(member, "{process:?} is not in {}", root.join(name).display());
        checked += 1;
    }
    checked
}

#[test]
fn spawn_race_fork() {
    let layout = CgroupLayout::read();
    let lab = Lab::open("race-fork");
    let (mut boxes, mut looked_at) = (0, 0);
    while boxes < spawns() {
        let start = |_| lab.a_box().attack("contain_spawn_race", &["fork"]).stdin(Stdio::piped()).start();
        let running: Vec<_> = (0..ROUND).map(start).collect();
        running.iter().for_each(|r| r.await_output("armed:"));
        let mut host = scan();
        for one in &running {
            let mark = format!("RUSTBOX_TEST_BOX={}", one.box_id());
            let name = format!("rustbox-{}", one.box_id());
            // By the environment, not by the cgroup: a process outside would be missed otherwise. The child forks
            // once more and ends, so one look may fall between the two.
            let is_own = |p: &SeenProcess| p.environ.split(|b| *b == 0).any(|w| w == mark.as_bytes()) && !p.is_zombie();
            let own = wait_until(Duration::from_secs(2), || {
                let own: Vec<_> = host.iter().filter(|p| is_own(p)).cloned().collect();
                if own.len() < 2 {
                    host = scan();
                }
                (own.len() >= 2).then_some(own)
            });
            let own = own.expect("main process and child");
            let namespaces: BTreeSet<_> = own.iter().map(|p| p.pid_namespace).collect();
            assert_eq!(namespaces.len(), 1, "{own:?}");
            for process in &own {
                assert!(assert_inside(process, &name, &layout) > 0, "no hierarchy was checked for {name}");
                looked_at += 1;
            }
        }
        for mut one in running {
            drop(one.take_stdin());
            one.finish().assert_contained().assert_verdict("OK", "normal_exit", 0);
            boxes += 1;
        }
    }
    eprintln!(
        "spawn_race_fork: {boxes} boxes, {looked_at} processes, 0 outside (95 % bound {:.1e})",
        3.0 / boxes as f64
    );
    // The control: without a box the same processes are in no cgroup of one.
    let (read, mut write) = std::io::pipe().expect("pipe");
    write.write_all(b"x").expect("write");
    drop(write);
    let control = Pen::of("contain_spawn_race", &["fork"]).stdin(read.into()).run();
    assert_eq!(control.main, Some(0), "{control:?}");
}

#[test]
fn spawn_race_memory() {
    let lab = Lab::open("race-memory");
    for _ in 0..50 {
        let ended = lab.a_box().attack("contain_spawn_race", &["memory"]).finish();
        ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
        let peak = ended.report().memory_peak_bytes.expect("a memory peak");
        assert!(peak >= 8 << 20, "8 MiB were touched first and only {peak} bytes are charged: {ended}");
    }
    // What is touched first is limited as well.
    let ended = lab.a_box().attack("contain_spawn_race", &["memory"]).flags(["--mem", "6M"]).finish();
    ended.assert_contained().assert_verdict("MLE", "mle_kernel_oom", 137);
}
