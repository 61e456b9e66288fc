//! SIGKILL of the supervisor at random times; at every system call that it makes, see `kill_sweep_test`.
//!
//! After each: no process of the box, and its cgroups, mounts and directory gone within two seconds, without
//! anybody running a command. The same check must turn red on a copy of rustbox without death guards. S12,
//! QR03, D10; the protocol of `design`: "when the supervisor is dead, no process of the box is alive".
#![expect(clippy::print_stderr, reason = "a test fails by panicking, and tells its numbers on stderr")]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustbox_tests::proof::Part;
use rustbox_tests::{
    BoxCommand, Canary, CgroupLayout, Lab, Progress, Random, build_planted, clear_wreck, how_often, in_guest, scan,
    skip_unless, wait_clean,
};
use rustix::process::Signal;

/// One at a time: the oracle for keepers goes by the binary that a process executes.
static ALONE: Mutex<()> = Mutex::new(());

/// A stage with fewer hits is not covered.
const FEWEST_HITS: usize = 5;

/// Times at which the supervisor is killed; `RUSTBOX_KILLS` sets another number.
fn random_kills() -> usize {
    how_often("RUSTBOX_KILLS", 2000)
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

/// When to kill, so that the short stages are hit as well as the long ones.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// While the box is made.
    Setup,
    /// At any time of a short run.
    Any,
    /// After the payload was seen executing: it ends at once, so this is the teardown.
    Teardown,
    /// In the middle of a long run.
    Steady,
}

const MOMENTS: [Moment; 4] = [Moment::Setup, Moment::Any, Moment::Teardown, Moment::Steady];

/// Starts a box, waits for a random time, and kills its supervisor. The last look before tells the stage; none when
/// the run was over.
fn kill_at_random(lab: &Lab, moment: Moment, random: &mut Random, whole: Duration) -> (String, Option<Progress>) {
    let layout = CgroupLayout::read();
    let main = if matches!(moment, Moment::Steady) { STAYS } else { ENDS };
    let running = victim(lab, main).start();
    let box_id = running.box_id().to_owned();
    let mut seen = Progress::Nothing;
    // Looks while it waits.
    let mut look_for = |time: Duration, until: Progress| {
        let begun = Instant::now();
        while begun.elapsed() < time && seen < until {
            let pause = Duration::from_micros(100).min(time.saturating_sub(begun.elapsed()));
            if running.pidfd().wait(pause) {
                return true;
            }
            seen = Progress::look(&box_id, &lab.state_dir(), &layout, seen);
        }
        false
    };
    let over = match moment {
        Moment::Setup => look_for(random.duration(whole / 2), Progress::Removed),
        Moment::Any => look_for(random.duration(whole), Progress::Removed),
        Moment::Teardown => {
            look_for(whole * 20, Progress::Running) || look_for(random.duration(whole / 2), Progress::Removed)
        }
        Moment::Steady => look_for(random.duration(whole * 2), Progress::Removed),
    };
    let over = over || running.pidfd().wait(Duration::ZERO);
    running.kill();
    (box_id, (!over).then_some(seen))
}

/// What the trials came to.
struct Tally {
    hits: BTreeMap<Progress, usize>,
    /// Runs that were over before they were killed.
    over: usize,
    slowest: Duration,
    part: Part,
}

impl Tally {
    fn kills(&self) -> usize {
        self.hits.values().sum()
    }
}

/// Trials at once: they wait for the kernel more than they compute.
const WORKERS: usize = 3;

/// Makes trials until there were enough of them, or one has left something.
fn kill_until_enough(lab: &Lab, tally: &Mutex<Tally>, mut random: Random, whole: Duration) {
    let locked = || tally.lock().unwrap_or_else(PoisonError::into_inner);
    for moment in MOMENTS.into_iter().cycle() {
        let (box_id, stage) = kill_at_random(lab, moment, &mut random, whole);
        let killed_at = Instant::now();
        let left = wait_clean(&box_id, &lab.state_dir());
        let mut tally = locked();
        tally.slowest = tally.slowest.max(killed_at.elapsed());
        match stage {
            Some(stage) => *tally.hits.entry(stage).or_insert(0) += 1,
            None => tally.over += 1,
        }
        match (left.is_empty(), stage) {
            (true, None) => {}
            (true, Some(_)) => tally.part.count(Ok(())),
            (false, _) => tally.part.count(Err(format!("killed at {stage:?}, two seconds later: {left:#?}"))),
        }
        let kills = tally.kills();
        let most_are_over = tally.over > 10 * kills.max(100);
        if kills >= random_kills() || tally.part.failed > 0 || most_are_over {
            return;
        }
    }
}

#[test]
fn supervisor_killed_at_random_times_leaves_nothing() {
    let _alone = ALONE.lock();
    let lab = Lab::open("random");
    let canary = Canary::start("random");
    let mut random = Random::from_environment();
    let mut times: Vec<_> = (0..9).map(|_| victim(&lab, ENDS).finish().assert_contained().elapsed).collect();
    times.sort_unstable();
    let whole = times[4];
    let claim = "a supervisor killed at a random time leaves nothing";
    let part = Part::new("kill-random", claim, &["S12", "QR03", "D10"]);
    let begun = Instant::now();
    let tally = Mutex::new(Tally { hits: BTreeMap::new(), over: 0, slowest: Duration::ZERO, part });
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let (random, lab, tally) = (random.fork(), &lab, &tally);
            scope.spawn(move || kill_until_enough(lab, tally, random, whole));
        }
    });
    canary.assert_unharmed();
    let Tally { hits, over, slowest, mut part } = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    part.figures.insert("slowest cleanup".to_owned(), format!("{slowest:?}"));
    part.seconds = begun.elapsed().as_secs_f64();
    part.publish();
    let kills: usize = hits.values().sum();
    eprintln!(
        "supervisor killed at {kills} random times ({over} more runs were over; one run takes {whole:?}): {} left something, \
         95 % bound {:.1e}; {:.1} s; slowest cleanup {slowest:?}; stage last seen before the kill:",
        part.failed,
        3.0 / f64::from(u32::try_from(kills).unwrap_or(u32::MAX)),
        part.seconds
    );
    tell(&hits);
    assert_eq!(part.objections(), [""; 0]);
    assert!(kills >= random_kills(), "most runs are over before they are killed: {hits:?}, {over} over");
    assert_each_is_covered(&hits);
}

/// The stages that last a few microseconds are the sweep's; these are those that last.
fn assert_each_is_covered(hits: &BTreeMap<Progress, usize>) {
    // A guest kills a tenth as often, on a CPU on which the stages last otherwise: there all are the sweep's, which
    // counts its kills by stage as well.
    if in_guest() {
        return;
    }
    let between = |from, to| hits.range(from..=to).map(|(_, n)| n).sum::<usize>();
    for (from, to) in [
        (Progress::Nothing, Progress::Nothing),
        (Progress::Locking, Progress::Cgroups),
        (Progress::Held, Progress::Held),
        (Progress::Running, Progress::Running),
        (Progress::Killing, Progress::Removed),
    ] {
        assert!(between(from, to) >= FEWEST_HITS, "{from:?} to {to:?} is not covered");
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
    let running = victim(&lab, STAYS).program(&planted).wrapped(["env", "RUSTBOX_PLANTED=no-death-guard"]).start();
    running.await_output("armed:");
    let box_id = running.box_id().to_owned();
    running.kill();
    let left = wait_clean(&box_id, &lab.state_dir());
    clear_wreck(&box_id, &lab);
    let processes = left.iter().filter(|l| l.starts_with("process ")).count();
    assert!(processes > 0, "the check does not see what a supervisor without guards leaves: {left:?}");
    eprintln!("planted bug: {processes} processes outlived the supervisor, as they should: the check can turn red");
}
