//! P1-RACE-001: no instruction of a payload runs before it sits in its cgroup.
//!
//! The payload forks, or allocates, as its very first act. What was born before the attach would sit
//! outside, and what was touched before it would not be charged. Both are read from the host. S08, S57-S60.
#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers as well")]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustbox_tests::proof::{Part, Planted};
use rustbox_tests::{
    CgroupLayout, Lab, Pen, SeenProcess, build_planted, clear_wreck, how_often, scan, skip_unless, wait_until,
};

/// `RUSTBOX_RACE_SPAWNS` sets another number; a nightly run takes 10,000.
fn spawns() -> usize {
    how_often("RUSTBOX_RACE_SPAWNS", 1000)
}

/// Boxes that are alive at the same time: so many are started, looked at together, and ended.
const ROUND: usize = 25;

/// In how many hierarchies the process is a member of the box's directory; an error when it is not in one that has it.
fn inside(process: &SeenProcess, name: &str, layout: &CgroupLayout) -> Result<usize, String> {
    let mut checked = 0;
    for root in layout.roots().filter(|root| root.join(name).is_dir()) {
        let procs = std::fs::read_to_string(root.join(name).join("cgroup.procs")).expect("cgroup.procs");
        if !procs.lines().any(|l| l.parse() == Ok(process.pid)) {
            // The middle one of three generations ends by itself; when it was looked at, the kernel showed it inside.
            let ended = SeenProcess::read(process.pid).is_none_or(|now| now.is_zombie());
            if ended && process.is_in_cgroup(name) {
                checked += 1;
                continue;
            }
            // Not the whole process: its environment does not belong into a report.
            let SeenProcess { pid, comm, cgroup, .. } = process;
            return Err(format!("{pid} {comm:?} is not in {}, but in {cgroup:?}", root.join(name).display()));
        }
        checked += 1;
    }
    Ok(checked)
}

/// What a payload does first: fork, execute itself and then fork, touch 8 MiB.
const FIRST_ACTS: [&str; 3] = ["fork", "exec", "memory"];

/// Of a payload that touches memory there is one process; of the others the main one, and a child or grandchild.
fn expected_processes(first_act: &str) -> usize {
    if first_act == "memory" { 1 } else { 2 }
}

/// Every process of this box that lives, found by its environment and not by its cgroup: one outside would be missed
/// otherwise. The child forks once more and ends, so one look may fall between the two.
fn own_processes(box_id: &str, least: usize, host: &mut Vec<SeenProcess>) -> Option<Vec<SeenProcess>> {
    let mark = format!("RUSTBOX_TEST_BOX={box_id}");
    let is_own = |p: &SeenProcess| p.environ.split(|b| *b == 0).any(|w| w == mark.as_bytes()) && !p.is_zombie();
    wait_until(Duration::from_secs(2), || {
        let own: Vec<_> = host.iter().filter(|p| is_own(p)).cloned().collect();
        if own.len() < least {
            *host = scan();
        }
        (own.len() >= least).then_some(own)
    })
}

/// Whether each process of the box is in it, in every hierarchy and in one PID namespace; how many there were.
fn look_at(box_id: &str, first_act: &str, host: &mut Vec<SeenProcess>, layout: &CgroupLayout) -> Result<usize, String> {
    let own = own_processes(box_id, expected_processes(first_act), host);
    let own = own.ok_or_else(|| format!("{box_id}: its processes were not seen"))?;
    let namespaces: BTreeSet<_> = own.iter().map(|p| p.pid_namespace).collect();
    if namespaces.len() != 1 {
        return Err(format!("{box_id}: in several PID namespaces: {namespaces:?}"));
    }
    let name = format!("rustbox-{box_id}");
    for process in &own {
        if inside(process, &name, layout)? == 0 {
            return Err(format!("no hierarchy was checked for {name}"));
        }
    }
    Ok(own.len())
}

#[test]
fn spawn_race_first_acts() {
    let begun = Instant::now();
    let claim = "no process of a box is outside its cgroup, whatever its first instruction does";
    let mut part = Part::new("spawn-race", claim, &["S08", "S57", "S58", "S59", "P1-RACE-001"]);
    let layout = CgroupLayout::read();
    let lab = Lab::open("race-first");
    let mut looked_at = 0;
    while part.tried < spawns() as u64 {
        let start = |number| {
            let first_act = FIRST_ACTS[number % FIRST_ACTS.len()];
            (first_act, lab.a_box().attack("contain_spawn_race", &[first_act]).stdin(Stdio::piped()).start())
        };
        let running: Vec<_> = (0..ROUND).map(start).collect();
        running.iter().for_each(|(_, one)| one.await_output("armed:"));
        let mut host = scan();
        for (first_act, one) in &running {
            match look_at(one.box_id(), first_act, &mut host, &layout) {
                Ok(count) => {
                    looked_at += count;
                    part.count(Ok(()));
                }
                Err(why) => part.count(Err(why)),
            }
        }
        for (first_act, mut one) in running {
            drop(one.take_stdin());
            let ended = one.finish();
            ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
            let peak = ended.report().memory_peak_bytes.expect("a memory peak");
            assert!(
                first_act != "memory" || peak >= 8 << 20,
                "8 MiB were touched first, {peak} bytes charged: {ended}"
            );
        }
    }
    // The harness has to notice one that is outside: the same look at processes that never were in the box.
    let outside = SeenProcess::read(std::process::id()).expect("this very process");
    let noticed = lab.a_box().attack("contain_spawn_race", &["fork"]).stdin(Stdio::piped()).start();
    noticed.await_output("armed:");
    let verdict = inside(&outside, &format!("rustbox-{}", noticed.box_id()), &layout);
    part.planted.push(Planted {
        bug: "a process outside".to_owned(),
        turned_red: verdict.is_err(),
        detail: format!("{verdict:?}"),
    });
    drop(noticed);
    part.planted.extend(attached_too_late(&layout));
    part.figures.insert("processes looked at".to_owned(), looked_at.to_string());
    part.seconds = begun.elapsed().as_secs_f64();
    eprintln!(
        "spawn_race_first_acts: {} boxes, {looked_at} processes, {} outside (95 % bound {:.1e})",
        part.tried,
        part.failed,
        part.bound().unwrap_or(1.0)
    );
    part.publish();
    assert_eq!(part.objections(), [""; 0]);
    // The control: without a box the same processes are in no cgroup of one.
    let (read, mut write) = std::io::pipe().expect("pipe");
    write.write_all(b"x").expect("write");
    drop(write);
    let control = Pen::of("contain_spawn_race", &["fork"]).stdin(read.into()).run();
    assert_eq!(control.main, Some(0), "{control:?}");
}

/// The same boxes and the same look, of a program whose init attaches when the payload runs already.
fn attached_too_late(layout: &CgroupLayout) -> Option<Planted> {
    let planted = build_planted();
    let there = planted.as_ref().map(|_| ()).ok_or_else(|| "no compiler, and no RUSTBOX_PLANTED_BIN".to_owned());
    if !skip_unless("planted_bug", there) {
        return None;
    }
    let planted = planted.expect("the planted binary");
    let lab = Lab::open("race-planted");
    let mut told = Vec::new();
    for first_act in ["fork", "exec"] {
        let one = lab.a_box().attack("contain_spawn_race", &[first_act]).program(&planted);
        let mut one = one.wrapped(["env", "RUSTBOX_PLANTED=attach-after-exec"]).stdin(Stdio::piped()).start();
        one.await_output("armed:");
        told.push(look_at(one.box_id(), first_act, &mut scan(), layout));
        let box_id = one.box_id().to_owned();
        drop(one.take_stdin());
        drop(one);
        clear_wreck(&box_id, &lab);
    }
    let turned_red = told.iter().all(Result::is_err);
    Some(Planted { bug: "attach-after-exec".to_owned(), turned_red, detail: format!("{told:?}") })
}

#[test]
fn spawn_race_memory() {
    // What is touched first is limited as well.
    let lab = Lab::open("race-memory");
    let ended = lab.a_box().attack("contain_spawn_race", &["memory"]).flags(["--mem", "6M"]).finish();
    ended.assert_contained().assert_verdict("MLE", "mle_kernel_oom", 137);
}
