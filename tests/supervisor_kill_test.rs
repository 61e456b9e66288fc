//! SIGKILL of the supervisor, at every system call that it makes and at random times.
//!
//! After each: no process of the box, and its cgroups, mounts and directory gone within two seconds, without
//! anybody running a command. The same check must turn red on a copy of rustbox without death guards. S12,
//! QR03, D10; the protocol of `design`: "when the supervisor is dead, no process of the box is alive".
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and tells its numbers on stderr"
)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use rustbox_tests::{
    BoxCommand, Canary, CgroupLayout, Lab, Progress, Random, Trial, build_planted, residue, rustbox, scan, skip_unless,
    sweep_trial, wait_clean,
};
use rustix::process::Signal;

/// One at a time: the oracle for keepers goes by the binary that a process executes.
static ALONE: Mutex<()> = Mutex::new(());

/// A stage with fewer hits is not covered.
const FEWEST_HITS: usize = 5;

/// Times at which the supervisor is killed; `RUSTBOX_KILLS` sets another number.
fn random_kills() -> usize {
    std::env::var("RUSTBOX_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(500)
}

/// The main process lives on.
const STAYS: &[&str] = &["stay"];
/// The main process ends at once, so that the supervisor kills, reaps and removes.
const ENDS: &[&str] = &[];

/// A box whose payload leaves orphans without a parent-death signal behind.
fn victim<'lab>(lab: &'lab Lab, main: &[&str]) -> BoxCommand<'lab> {
    lab.a_box().attack("contain_pdeathsig_cleared", main).flags(["--quiet"])
}

fn tell(hits: &BTreeMap<Progress, usize>) {
    for stage in Progress::ALL {
        eprintln!("  {:>10}: {} hits", format!("{stage:?}"), hits.get(&stage).copied().unwrap_or(0));
    }
}

/// Processes that execute this very binary: supervisors, keepers and inits of ours.
fn executing(binary: &std::path::Path) -> Vec<String> {
    let binary = binary.canonicalize().expect("the binary's path");
    let ours = |p: &rustbox_tests::SeenProcess| p.exe.as_deref() == Some(&binary);
    scan().iter().filter(|p| ours(p)).map(|p| format!("{} {} {}", p.pid, p.comm, p.state)).collect()
}

#[test]
fn supervisor_killed_before_every_system_call_leaves_nothing() {
    let _alone = ALONE.lock();
    let lab = Lab::open("sweep");
    let canary = Canary::start("sweep");
    let mut hits = BTreeMap::new();
    let mut boundaries = 0;
    for boundary in 0.. {
        assert!(boundary < 20_000, "the supervisor never ends");
        let command = victim(&lab, ENDS);
        let box_id = command.box_id().to_owned();
        match sweep_trial(&command, &lab.state_dir(), boundary) {
            Trial::Killed(stage) => *hits.entry(stage).or_insert(0) += 1,
            Trial::Ended => {
                boundaries = boundary;
                break;
            }
        }
        let left = wait_clean(&box_id, &lab.state_dir());
        assert!(left.is_empty(), "killed before system call {boundary}, two seconds later: {left:#?}");
    }
    canary.assert_unharmed();
    eprintln!("supervisor killed before each of {boundaries} system calls, 0 survivors, 0 left over; hits by stage:");
    tell(&hits);
    for stage in Progress::ALL {
        assert!(hits.get(&stage).copied().unwrap_or(0) >= FEWEST_HITS, "stage {stage:?} is not covered");
    }
    let keepers = rustbox_tests::wait_until(rustbox_tests::BOUND, || executing(rustbox()).is_empty().then_some(()));
    assert!(keepers.is_some(), "still executing rustbox: {:?}", executing(rustbox()));
}

#[test]
fn supervisor_killed_at_random_times_leaves_nothing() {
    let _alone = ALONE.lock();
    let lab = Lab::open("random");
    let layout = CgroupLayout::read();
    let canary = Canary::start("random");
    let mut random = Random::from_environment();
    // What one whole run takes here decides the range: half the kills in its first third, where a box is made.
    let whole = victim(&lab, ENDS).finish().assert_contained().elapsed;
    let mut hits: BTreeMap<Progress, usize> = BTreeMap::new();
    let mut ended = 0;
    let mut slowest = Duration::ZERO;
    for trial in 0..random_kills() {
        let main = if trial % 4 == 3 { STAYS } else { ENDS };
        let range = match trial % 4 {
            0 => whole / 3,
            1 => whole,
            2 => whole * 3 / 2,
            _ => whole * 2,
        };
        let running = victim(&lab, main).start();
        let box_id = running.box_id().to_owned();
        let begun = std::time::Instant::now();
        let delay = random.duration(range);
        let mut seen = Progress::Nothing;
        // Looks while it waits, and kills when the time has come: the last look tells the stage.
        while begun.elapsed() < delay
            && !running.pidfd().wait(Duration::from_micros(200).min(delay - begun.elapsed().min(delay)))
        {
            seen = Progress::look(&box_id, &lab.state_dir(), &layout, seen);
        }
        if running.pidfd().wait(Duration::ZERO) {
            ended += 1;
        } else {
            *hits.entry(seen).or_insert(0) += 1;
        }
        running.kill();
        let killed_at = std::time::Instant::now();
        let left = wait_clean(&box_id, &lab.state_dir());
        slowest = slowest.max(killed_at.elapsed());
        assert!(left.is_empty(), "killed after {delay:?} at {seen:?}, two seconds later: {left:#?}");
    }
    canary.assert_unharmed();
    let kills: usize = hits.values().sum();
    eprintln!(
        "supervisor killed at {kills} random times within {:?} ({ended} runs had ended): 0 survivors, 95 % bound {:.1e}; \
         slowest cleanup {slowest:?}; stage last seen before the kill:",
        whole * 2,
        3.0 / f64::from(u32::try_from(kills).unwrap_or(u32::MAX))
    );
    tell(&hits);
    for stage in [Progress::Nothing, Progress::Held, Progress::Running, Progress::Killing] {
        assert!(hits.get(&stage).copied().unwrap_or(0) >= FEWEST_HITS, "stage {stage:?} is not covered");
    }
}

#[test]
fn supervisor_killed_in_the_middle_of_a_run_leaves_nothing() {
    let _alone = ALONE.lock();
    let lab = Lab::open("steady");
    for name in [
        "contain_pdeathsig_cleared",
        "contain_daemon",
        "contain_zombie_leader",
        "contain_vfork_blocked",
        "contain_stopped",
    ] {
        for backend in [None, Some("v1")] {
            if backend.is_some() && CgroupLayout::read().controller("memory").is_none() {
                continue;
            }
            let global = backend.map(|b| ["--cgroup-backend", b]);
            let running = lab.a_box().attack(name, &["stay"]).global(global.into_iter().flatten()).start();
            running.await_output("armed:");
            let box_id = running.box_id().to_owned();
            running.kill();
            let left = wait_clean(&box_id, &lab.state_dir());
            assert!(left.is_empty(), "{name} {backend:?}: {left:#?}");
        }
    }
}

#[test]
fn init_killed_in_the_middle_of_a_run_is_reported_and_leaves_nothing() {
    let _alone = ALONE.lock();
    let lab = Lab::open("init-killed");
    let running = lab.a_box().attack("contain_pdeathsig_cleared", &["stay"]).start();
    running.await_output("armed:");
    let name = format!("rustbox-{}", running.box_id());
    let init = scan().into_iter().find(|p| p.is_in_cgroup(&name) && p.ppid == running.pid()).expect("an init");
    rustbox_tests::PidFd::open(init.pid).expect("pidfd of init").signal(Signal::KILL);
    let ended = running.finish();
    ended.assert_contained().assert_verdict("IE", "ie_init_killed", 125);
}

/// Sends every process of the box SIGKILL and removes its cgroups: what the planted bug leaves is ours to clean.
fn clean_up_after_the_planted_bug(box_id: &str, lab: &Lab) {
    let layout = CgroupLayout::read();
    let name = format!("rustbox-{box_id}");
    let mark = format!("RUSTBOX_TEST_BOX={box_id}");
    let gone = rustbox_tests::wait_until(Duration::from_secs(10), || {
        for process in scan() {
            let marked = process.environ.split(|b| *b == 0).any(|w| w == mark.as_bytes());
            if process.is_in_cgroup(&name)
                || marked
                || process.cmdline.split(|b| *b == 0).any(|w| w == box_id.as_bytes())
            {
                let _gone = rustbox_tests::PidFd::open(process.pid).map(|fd| fd.signal(Signal::KILL));
            }
        }
        layout.directories(&name).iter().for_each(|d| _ = std::fs::remove_dir(d));
        _ = std::fs::remove_dir_all(lab.state_dir().join("boxes").join(box_id));
        residue(box_id, &lab.state_dir()).is_empty().then_some(())
    });
    assert!(gone.is_some(), "cannot clean up: {:?}", residue(box_id, &lab.state_dir()));
}

#[test]
fn the_same_check_finds_survivors_of_a_supervisor_without_death_guards() {
    let _alone = ALONE.lock();
    let planted = build_planted();
    let there = planted.as_ref().map(|_| ()).ok_or_else(|| "no compiler, and no RUSTBOX_PLANTED_BIN".to_owned());
    if !skip_unless("planted_bug", there) {
        return;
    }
    let planted = planted.expect("the planted binary");
    let lab = Lab::open("planted");
    let running = victim(&lab, STAYS).program(&planted).start();
    running.await_output("armed:");
    let box_id = running.box_id().to_owned();
    running.kill();
    let left = wait_clean(&box_id, &lab.state_dir());
    clean_up_after_the_planted_bug(&box_id, &lab);
    let processes = left.iter().filter(|l| l.starts_with("process ")).count();
    assert!(processes > 0, "the check does not see what a supervisor without guards leaves: {left:?}");
    eprintln!("planted bug: {processes} processes outlived the supervisor, as they should: the check can turn red");
}
