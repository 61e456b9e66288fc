//! Many signals a millisecond to a supervisor, from its first instruction to its last.
//!
//! Those that mean nothing to it change nothing. Those that end a run end it once: there is one report, it is true, and
//! nothing is left; or, where one came before the program could take signals at all, there is none, and nothing is left.
#![expect(clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking, and tells its numbers")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustbox_core::{ContainmentVerdict, RUN_SCHEMA, RunReport};
use rustbox_tests::proof::Part;
use rustbox_tests::{Canary, Lab, PidFd, Random, adopt_orphans, how_often, in_guest, wait_clean};
use rustix::process::Signal;

/// One at a time: each uses both processors.
static ALONE: Mutex<()> = Mutex::new(());

/// Ignored by default, or without a meaning to a process that runs.
const IDLE: [Signal; 4] = [Signal::CONT, Signal::CHILD, Signal::WINCH, Signal::URG];
/// What ends a run.
const ENDING: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::HUP];
/// A storm that lasts longer is over.
const LIMIT: Duration = Duration::from_secs(20);
/// Signals between two looks whether the process is still there.
const SALVO: u64 = 20;
/// How long the supervisor has before the first signal that ends a run, at most.
const HEAD_START: Duration = Duration::from_millis(60);

/// Sends signals until the process has ended; how many there were.
fn rage(pidfd: &PidFd, signals: &[Signal], random: &mut Random) -> u64 {
    let begun = Instant::now();
    let mut sent = 0;
    while !pidfd.wait(Duration::ZERO) && begun.elapsed() < LIMIT {
        // Without a look between them they come faster than the program can do anything.
        for _ in 0..SALVO {
            let at = usize::try_from(random.draw() % signals.len() as u64).expect("an index");
            pidfd.signal(signals[at]);
        }
        sent += SALVO;
    }
    sent
}

/// What one storm came to.
struct Storm {
    sent: u64,
    end: String,
    wrong: Vec<String>,
}

/// A box whose payload leaves orphans and ends, or stays; the storm begins after the head start.
fn storm(lab: &Lab, signals: &[Signal], stays: &[&str], random: &mut Random) -> Storm {
    let command = lab.a_box().attack("contain_pdeathsig_cleared", stays).flags(["--quiet"]);
    let json = lab.path().join(format!("{}.json", command.box_id()));
    let running = command.start();
    let box_id = running.box_id().to_owned();
    // Half of them meet a payload that runs, the others whatever there is by then.
    if random.draw().is_multiple_of(2) {
        running.await_output("armed:");
    }
    let over = running.pidfd().wait(random.duration(HEAD_START));
    let sent = if over { 0 } else { rage(running.pidfd(), signals, random) };
    let mut wrong = Vec::new();
    if !running.pidfd().wait(Duration::ZERO) {
        wrong.push("it did not end".to_owned());
    }
    let ran = running.stdout().contains("armed:");
    let code = running.exit_code();
    let text = std::fs::read_to_string(&json).unwrap_or_default();
    let left = wait_clean(&box_id, &lab.state_dir());
    if !left.is_empty() {
        wrong.push(format!("left {left:?}"));
    }
    let ended = match (code, text.is_empty()) {
        (None, true) if !ran => "killed before it could take signals".to_owned(),
        (None, true) => {
            wrong.push("its payload ran, and it reported nothing".to_owned());
            String::new()
        }
        (None, false) => {
            wrong.push("it was killed by a signal after it had reported".to_owned());
            String::new()
        }
        (Some(code), true) => {
            wrong.push(format!("it ended with {code}, and reported nothing"));
            String::new()
        }
        (Some(code), false) => judge(&text, code, &mut wrong),
    };
    _ = std::fs::remove_file(json);
    Storm { sent, end: ended, wrong }
}

/// What a report says; whether it is one, and true.
fn judge(text: &str, code: i32, wrong: &mut Vec<String>) -> String {
    // The stream of results has one object.
    let mut results = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    let (first, second) = (results.next(), results.next());
    if second.is_some() {
        wrong.push(format!("two results: {text}"));
    }
    let Some(Ok(value)) = first else {
        wrong.push(format!("half a result: {text}"));
        return String::new();
    };
    // A refusal has a schema of its own: interrupted before a box was made.
    if value["schema"] != RUN_SCHEMA {
        return "refused".to_owned();
    }
    match serde_json::from_value::<RunReport>(value) {
        Err(error) => wrong.push(format!("{error}: {text}")),
        Ok(report) => {
            let contained = report.containment.verdict == ContainmentVerdict::Contained;
            if !contained || i32::from(report.exit_code) != code {
                wrong.push(format!("exit code {code}, and the report says {text}"));
            }
            return report.cause.as_str().to_owned();
        }
    }
    String::new()
}

/// Storms, as one part of the proof; how each ended, and how often.
fn storms(name: &str, claim: &str, signals: &[Signal], stays: &[&str]) -> BTreeMap<String, usize> {
    let _alone = ALONE.lock();
    adopt_orphans();
    let lab = Lab::open(name);
    let canary = Canary::start(name);
    let begun = Instant::now();
    let mut part = Part::new(name, claim, &["S12", "QR03"]);
    let mut random = Random::from_environment();
    let (mut ends, mut sent) = (BTreeMap::new(), 0);
    for _ in 0..how_often("RUSTBOX_STORMS", if in_guest() { 400 } else { 80 }) {
        let storm = storm(&lab, signals, stays, &mut random);
        sent += storm.sent;
        part.count(if storm.wrong.is_empty() { Ok(()) } else { Err(storm.wrong.join("; ")) });
        *ends.entry(storm.end).or_insert(0) += 1;
    }
    canary.assert_unharmed();
    part.seconds = begun.elapsed().as_secs_f64();
    let per_ms = sent / u64::try_from(begun.elapsed().as_millis()).unwrap_or(1).max(1);
    part.figures.insert("signals".to_owned(), format!("{sent}, {per_ms} a millisecond"));
    part.figures.insert("ends".to_owned(), format!("{ends:?}"));
    part.publish();
    eprintln!("{name}: {} storms, {:?}, {:.1} s", part.tried, part.figures, part.seconds);
    assert_eq!(part.objections(), [""; 0], "{:#?}", part.failures);
    ends
}

#[test]
fn a_storm_of_signals_without_a_meaning_changes_nothing() {
    let claim = "a supervisor in a storm of signals without a meaning reports the run as without it";
    let ends = storms("storm-idle", claim, &IDLE, &[]);
    assert_eq!(ends.keys().collect::<Vec<_>>(), ["normal_exit"], "{ends:?}");
}

#[test]
fn a_storm_of_signals_that_end_a_run_ends_it_once_and_truthfully() {
    let claim =
        "a supervisor in a storm of signals that end it reports once and truly, or was not there yet; nothing is left";
    let all: Vec<Signal> = IDLE.into_iter().chain(ENDING).collect();
    let ends = storms("storm-ending", claim, &all, &["stay"]);
    let interrupted = ends.get("interrupted").copied().unwrap_or(0);
    // On an emulated CPU most are over before it could take signals.
    let fewest = if in_guest() { 1 } else { ends.values().sum::<usize>() / 4 };
    assert!(interrupted >= fewest, "few storms met a run: {ends:?}");
}
