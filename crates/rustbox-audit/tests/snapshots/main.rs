//! Whole hosts with known truth, read through the real parsers and judged by the real rules.
//!
//! `RUSTBOX_SNAPSHOTS` sets how many looks are judged (with `CI` set: 1,000,000); from 1,000,000 on, every class and every
//! hazard must have come up at least 1,000 times. `RUSTBOX_SEED` repeats a run.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test stops where its world cannot be made")]

mod cast;
mod random;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustbox_audit::{Patience, classify};
use rustbox_core::{BoxId, Finding, FindingKind};

use cast::{Director, PARTS};
use random::Dice;
use world::{Bug, Target, World};

const LOOKS_PER_WORLD: u64 = 3;
const PARTS_PER_WORLD: u64 = 3;

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn create(seed: u64) -> World {
    let mut dice = Dice(seed);
    let mut director = Director::new(&mut dice);
    for _ in 0..=director.dice.below(PARTS_PER_WORLD) {
        let (name, part) = *director.dice.pick(&PARTS);
        part(&mut director);
        director.world.classes.push(name);
    }
    director.world
}

/// What the auditor says that it should not, and does not say that it should.
fn mistakes(world: &World, bug: Option<Bug>) -> Vec<String> {
    let looks = world.looks(bug);
    let result = classify(&looks, &Patience::default());
    let said = said(world, &result.findings);
    let expected: BTreeSet<_> = world.expected.iter().copied().collect();
    let mut mistakes: Vec<String> = expected.difference(&said).map(|missed| format!("missed {missed:?}")).collect();
    mistakes.extend(said.difference(&expected).map(|wrong| format!("accused {wrong:?}")));
    // An auditor that is content after two looks has missed what comes later, and has accused no one else either.
    let early = classify(looks.get(..2).unwrap_or_default(), &Patience::default());
    let wrong = said_early(world, &early.findings).into_iter().filter(|target| world.is_innocent(*target));
    mistakes.extend(wrong.map(|target| format!("accused {target:?} after two looks")));
    if !world.may_be_unsettled {
        mistakes.extend(result.unsettled.iter().map(|why| format!("left unsettled: {why}")));
    }
    mistakes
}

fn said(world: &World, findings: &[Finding]) -> BTreeSet<(FindingKind, Target)> {
    let position = |id: &BoxId| world.boxes.iter().position(|truth| truth.marks.box_id == *id).expect("a box");
    let target = |finding: &Finding| match (finding.process, &finding.path, &finding.box_id) {
        (Some(key), ..) => Target::Pid(key.pid),
        (None, Some(_), Some(id)) => Target::Leftover(position(id)),
        _ => Target::Nothing,
    };
    findings.iter().map(|finding| (finding.kind, target(finding))).collect()
}

fn said_early(world: &World, findings: &[Finding]) -> BTreeSet<Target> {
    said(world, findings).into_iter().map(|(_, target)| target).collect()
}

#[derive(Default)]
struct Tally {
    classes: BTreeMap<&'static str, u64>,
    hazards: BTreeMap<&'static str, u64>,
    shapes: BTreeMap<String, u64>,
    processes: u64,
}

fn judge_worlds(seeds: impl Iterator<Item = u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let world = create(seed);
        let mistakes = mistakes(&world, None);
        assert!(mistakes.is_empty(), "seed {seed}, {:?}, {:?}: {mistakes:?}", world.shape, world.classes);
        for name in &world.classes {
            *tally.classes.entry(name).or_default() += LOOKS_PER_WORLD;
        }
        for name in &world.hazards {
            *tally.hazards.entry(name).or_default() += LOOKS_PER_WORLD;
        }
        *tally.shapes.entry(format!("{:?}", world.shape)).or_default() += LOOKS_PER_WORLD;
        tally.processes += world.processes.len() as u64 * LOOKS_PER_WORLD;
    }
    tally
}

/// A million snapshots are for every run of CI.
const TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn no_orphan_is_missed_and_no_innocent_accused() {
    let default = if std::env::var_os("CI").is_some() { 1_000_000 } else { 100_000 };
    let snapshots = number_from("RUSTBOX_SNAPSHOTS", default);
    let seed = number_from("RUSTBOX_SEED", 1);
    let worlds = snapshots.div_ceil(LOOKS_PER_WORLD);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let started = Instant::now();
    let mut total = Tally::default();
    std::thread::scope(|scope| {
        let start = |thread| {
            move || judge_worlds((0..worlds).filter(move |n| n % threads == thread).map(move |n| seed * 1_000_003 + n))
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(start(thread))).collect();
        for tally in running.into_iter().map(|thread| thread.join().expect("every world is judged right")) {
            let sums = [(&mut total.classes, tally.classes), (&mut total.hazards, tally.hazards)];
            for (sum, part) in sums {
                part.into_iter().for_each(|(name, count)| *sum.entry(name).or_default() += count);
            }
            tally.shapes.into_iter().for_each(|(name, count)| *total.shapes.entry(name).or_default() += count);
            total.processes += tally.processes;
        }
    });
    let took = started.elapsed();
    println!(
        "{} snapshots of {:.1} processes, seed {seed}, {:.1} s: 0 missed, 0 accused",
        worlds * LOOKS_PER_WORLD,
        total.processes as f64 / (worlds * LOOKS_PER_WORLD) as f64,
        took.as_secs_f64()
    );
    assert!(snapshots > 1_000_000 || took < TIME_MAX, "a million snapshots are judged in a minute: {took:.1?}");
    println!("shapes: {:?}", total.shapes);
    for (title, counts) in [("class", &total.classes), ("hazard", &total.hazards)] {
        for (name, count) in counts {
            println!("{title:7} {count:8} {name}");
            assert!(snapshots < 1_000_000 || *count >= 1_000, "{title} {name} came up only {count} times");
        }
    }
    assert_eq!(total.classes.len(), PARTS.len(), "every class came up");
}

#[test]
fn every_planted_bug_is_found_within_10_000_snapshots() {
    for bug in Bug::ALL {
        let shows =
            |seed: &u64| mistakes(&create(*seed), Some(bug)).iter().any(|mistake| mistake.starts_with(bug.symptom()));
        let found = (0..10_000 / LOOKS_PER_WORLD).find(shows);
        let at = found.unwrap_or_else(|| panic!("{bug:?} was not found in 10,000 snapshots"));
        println!(
            "{bug:?} found after {} snapshots: {:?}",
            (at + 1) * LOOKS_PER_WORLD,
            mistakes(&create(at), Some(bug))
        );
    }
}
