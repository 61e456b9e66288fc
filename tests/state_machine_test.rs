//! The real program does what the protocol's model does: sequences of runs, deaths, cleanups and operators' hands on one
//! name of a box, with the model's transition function as the reference for what may be there after each.
//!
//! `RUSTBOX_MACHINE_CASES` says how many sequences, `RUSTBOX_SEED` repeats some. A sequence that fails is shortened.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and tells its numbers"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use machine::{Act, Moments, Program, Sequences, play};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use rustbox_tests::proof::{Part, Planted};
use rustbox_tests::{BOUND, Lab, Random, adopt_orphans, build_planted, how_often, rustbox, skip_unless};

mod history;
mod machine;

/// Both look for orphans of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Actions of one sequence at most.
const LONGEST: usize = 14;
/// A defect is shown by a short sequence, and each attempt to shorten it takes the whole of this.
const SOON: Duration = Duration::from_millis(700);

/// What became of the sequences.
struct Played {
    counts: BTreeMap<String, u64>,
    failed: Option<(String, Vec<Act>)>,
}

/// Plays this many random sequences.
fn sequences(program: Program<'_>, cases: u32, longest: usize, random: &mut Random) -> Played {
    let lab = Lab::open("machine-moments");
    let moments = Moments::find(&lab);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 40, ..Config::default() };
    let seed: Vec<u8> = (0..4).flat_map(|_| random.draw().to_le_bytes()).collect();
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let counts = RefCell::new(BTreeMap::new());
    let result = runner.run(&Sequences { longest }, |acts| {
        // A worker of its own: three cleanups that fail in a row quarantine one.
        let lab = Lab::open("machine");
        let done = |act: Act| *counts.borrow_mut().entry(format!("{act:?}")).or_insert(0) += 1;
        play(&lab, program, &moments, &acts, done).map_err(TestCaseError::fail)
    });
    let failed = match result {
        Ok(()) => None,
        Err(TestError::Fail(why, acts)) => Some((why.to_string(), acts)),
        Err(TestError::Abort(why)) => panic!("no sequences: {why}"),
    };
    Played { counts: counts.into_inner(), failed }
}

#[test]
fn the_program_does_what_the_model_does() {
    let _alone = ALONE.lock();
    adopt_orphans();
    let begun = Instant::now();
    let claim = "after each action the host is in a state of the protocol's model";
    let mut part = Part::new("state-machine", claim, &["S12", "QR03", "S09"]);
    let mut random = Random::from_environment();
    let cases = u32::try_from(how_often("RUSTBOX_MACHINE_CASES", 60)).expect("a number of cases");
    let program = Program { path: rustbox(), bug: "", patience: BOUND };
    let played = sequences(program, cases, LONGEST, &mut random);
    for _ in 0..played.counts.values().sum() {
        part.count(Ok(()));
    }
    if let Some((why, acts)) = &played.failed {
        part.count(Err(format!("{acts:?}: {why}")));
    }
    let kinds: Vec<String> = played.counts.iter().map(|(kind, times)| format!("{kind} {times}")).collect();
    part.figures.insert("sequences".to_owned(), cases.to_string());
    part.figures.insert("actions".to_owned(), kinds.join(", "));
    if let Some(planted) = without_death_guard(&mut random) {
        part.planted.push(planted);
    }
    part.seconds = begun.elapsed().as_secs_f64();
    part.publish();
    eprintln!("state machine: {} actions in {cases} sequences, {:.1} s; {:?}", part.tried, part.seconds, part.figures);
    assert!(played.failed.is_none(), "{:#?}", played.failed);
    assert_eq!(part.objections(), [""; 0]);
    assert!(kinds.len() > 15, "only {kinds:?}");
}

/// The same with a program whose box outlives its supervisor: found, and shortened to what shows it.
fn without_death_guard(random: &mut Random) -> Option<Planted> {
    let planted = build_planted();
    let there = planted.as_ref().map(|_| ()).ok_or_else(|| "no compiler, and no RUSTBOX_PLANTED_BIN".to_owned());
    if !skip_unless("planted_bug", there) {
        return None;
    }
    let path = planted.expect("the planted binary");
    let program = Program { path: &path, bug: "no-death-guard", patience: SOON };
    let played = sequences(program, 60, 5, random);
    let detail = match &played.failed {
        None => format!("did not notice in {:?}", played.counts),
        Some((why, acts)) => format!("{acts:?}: {}", why.lines().next().unwrap_or_default()),
    };
    eprintln!("planted bug: {detail}");
    let shortest = played.failed.is_some_and(|(_, acts)| acts.len() <= 2);
    Some(Planted { bug: "no-death-guard".to_owned(), turned_red: shortest, detail })
}
