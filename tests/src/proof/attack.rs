//! Makes one attack: in a box, then in its control; two sights, two judgements.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::fixture::Offered;
use super::judge::{Seen, SeenControl, judge_box, judge_control};
use super::report::{Attack, Outcome};
use super::table::{Case, Fixture, Payload, Place};
use crate::canary::Canary;
use crate::lab::{BoxCommand, Lab};
use crate::pen::Pen;
use crate::pidfd::wait_until;
use crate::skip::is_listed;

/// How long a planter may take to get its objects into place.
const PLANTING: Duration = Duration::from_secs(20);

/// Flags and words that every box of this run gets, such as `--cgroup-backend v1`.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Flags of `rustbox` itself.
    pub global: Vec<String>,
}

/// Makes one attack in a box and in its control, and judges both.
#[must_use]
pub fn make(payload: &Payload, case: &Case, extra: &Extra) -> Attack {
    let begun = Instant::now();
    let mut attack = Attack::planned(payload, case);
    // Everything of the harness fails by panicking; one attack that cannot be made must not hide the others.
    let made = catch_unwind(AssertUnwindSafe(|| make_both(payload, case, extra, &mut attack)));
    if let Err(panic) = made {
        attack.objections.push(harness_failed(panic.as_ref()));
    }
    attack.outcome = match (attack.objections.is_empty(), attack.control_objections.is_empty()) {
        (true, true) => Outcome::Held,
        (true, false) => Outcome::NotProved,
        (false, _) => Outcome::Failed,
    };
    attack.seconds = begun.elapsed().as_secs_f64();
    attack
}

/// Makes an attack, unless `tests/skips.txt` says that it cannot be made in this place, or its fixtures are not there.
pub(super) fn make_or_skip(payload: &Payload, case: &Case, extra: &Extra) -> Attack {
    let script = case.with.contains(&Fixture::Terminal) && !Path::new("/usr/bin/script").exists();
    let name = payload.case_name(case);
    let why = if script { Some("no script(1) on this host".to_owned()) } else { is_listed(&payload.name) };
    match why {
        None => make(payload, case, extra),
        Some(why) => {
            let listed = is_listed(&payload.name).is_some();
            let mut attack = Attack::planned(payload, case);
            attack.outcome = if listed { Outcome::Skipped } else { Outcome::NotProved };
            attack.control_objections = if listed { Vec::new() } else { vec![format!("{name} cannot be made: {why}")] };
            attack.seen = vec![why];
            attack
        }
    }
}

/// What a harness that panicked said.
pub(super) fn harness_failed(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the harness failed: {}", cut(text.unwrap_or("without a word")))
}

fn make_both(payload: &Payload, case: &Case, extra: &Extra, attack: &mut Attack) {
    let lab = Lab::open(&format!("proof{}", next_number()));
    let command = lab.a_box().global(&extra.global);
    let offered = Offered::make(&case.with, &payload.name, &lab, command.box_id());
    let seen = in_a_box(&lab, command, payload, case, &offered, extra);
    let mut expect = case.expect.clone();
    expect.denied = offered.fill(&expect.denied);
    attack.objections = judge_box(&payload.name, &expect, &seen);
    attack.objections.extend(offered.objections(&seen.stdout));
    attack.verdict = seen.verdict();
    attack.seen = seen.facts();
    attack.tried = seen.attempts().map(str::to_owned).collect();
    attack.keep(&seen);
    let control = in_the_control(&lab, payload, case, &offered, extra);
    attack.control_objections = judge_control(&case.control, &control);
    attack.control_seen = tell_control(&control);
}

/// A number of its own for each lab: several of one process are open at the same time.
pub(super) fn next_number() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

fn in_a_box(
    lab: &Lab,
    command: BoxCommand<'_>,
    payload: &Payload,
    case: &Case,
    offered: &Offered,
    extra: &Extra,
) -> Seen {
    let planter = offered.beside.then(|| {
        let planter = lab.a_box().global(&extra.global).attack(&payload.name, &["plant"]);
        let running = planter.stdin(Stdio::piped()).start();
        running.await_output("armed:");
        running
    });
    let args = offered.fill(&case.args);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let canary = Canary::start(command.box_id());
    let command = command.attack(&payload.name, &args).flags(offered.fill(&case.flags)).wrapped(&offered.wrapper);
    let ended = command.finish();
    let mut seen = Seen {
        code: ended.code(),
        stdout: ended.stdout,
        stderr: ended.stderr,
        report: ended.report,
        left: ended.left,
        elapsed: ended.elapsed,
    };
    if !canary.is_unharmed() {
        seen.left.push("a canary was harmed".to_owned());
    }
    if let Some(mut planter) = planter {
        drop(planter.take_stdin());
        let planter = planter.finish();
        let harm = planter.left.iter().map(|left| format!("of the box beside it: {left}"));
        seen.left.extend(harm);
        if planter.code() != Some(0) {
            seen.left.push(format!("the box beside it ended with {:?}", planter.code()));
        }
    }
    seen
}

fn in_the_control(lab: &Lab, payload: &Payload, case: &Case, offered: &Offered, extra: &Extra) -> SeenControl {
    let args = offered.fill(case.control.args.as_ref().unwrap_or(&case.args));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let flags = offered.fill(&case.control.flags);
    if case.control.place == Place::Box {
        let command = lab.a_box().global(&extra.global).attack(&payload.name, &args).flags(offered.fill(&case.flags));
        let ended = command.flags(flags).wrapped(&offered.wrapper).finish();
        let main = ended.report.as_ref().map(|r| r.payload_exit_code.unwrap_or_else(|| -r.signal.unwrap_or(0)));
        let killed = ended.report.as_ref().and_then(|r| r.containment.processes_at_kill_count).unwrap_or(0);
        // What a box with a barrier lifted holds in the end is the others' merit; it must be clean all the same.
        assert!(ended.left.is_empty(), "left over of the control: {:?}", ended.left);
        return SeenControl { main, survivors: usize::try_from(killed).unwrap_or(usize::MAX), stdout: ended.stdout };
    }
    let pen = |args: &[&str]| {
        let pen = flags.iter().fold(Pen::of(&payload.name, args), |pen, flag| pen.flag(flag));
        if case.control.place == Place::RootPen { pen.as_root() } else { pen }
    };
    if !offered.beside {
        return pen(&args).run().into();
    }
    let (read, write) = std::io::pipe().expect("pipe");
    let planting = pen(&["plant"]).stdin(read.into());
    let planter = std::thread::spawn(move || planting.run());
    let mut last = None;
    let _found = wait_until(PLANTING, || {
        let seen = SeenControl::from(pen(&args).run());
        let succeeded = judge_control(&case.control, &seen).is_empty();
        last = Some(seen);
        succeeded.then_some(())
    });
    drop(write);
    planter.join().expect("the planter of the control");
    last.expect("a look at what was planted")
}

fn tell_control(seen: &SeenControl) -> Vec<String> {
    let ended = match seen.main {
        None => "the main process outlasted its time".to_owned(),
        Some(code) if code < 0 => format!("signal {}", -code),
        Some(code) => format!("exit {code}"),
    };
    let mut told = vec![ended, format!("outlived by {} processes", seen.survivors)];
    told.extend(seen.stdout.lines().take(MAX_LINES).map(cut));
    told
}

/// So many lines of a payload are kept as evidence; a flood is no evidence.
pub(super) const MAX_LINES: usize = 40;

/// A line of a payload's, no longer than a line: nobody promised that it is text.
pub(super) fn cut(line: &str) -> String {
    const MOST: usize = 200;
    line.chars().filter(|c| !c.is_control()).take(MOST).collect()
}

/// Set by `.ci/run`, where `cargo xtask proof` makes every attack of the table in a step of its own.
const ELSEWHERE: &str = "RUSTBOX_ATTACKS_BY_PROOF";

/// Asserts that every case of a payload holds, and that each control succeeds.
///
/// # Panics
/// When one does not.
pub fn assert_holds(name: &str) {
    let table = super::table::payload_table();
    let payload = table.iter().find(|p| p.name == name).unwrap_or_else(|| panic!("{name} is not in the table"));
    if std::env::var_os(ELSEWHERE).is_some_and(|v| v == "1") {
        eprintln!("{name}: made by the proof");
        return;
    }
    for case in &payload.case {
        let attack = make_or_skip(payload, case, &Extra::default());
        if attack.outcome == Outcome::Skipped {
            eprintln!("skipped: {}: {}", attack.name, attack.seen.join(" "));
            continue;
        }
        assert!(
            attack.outcome == Outcome::Held,
            "{}: {:#?}\ncontrol: {:#?}\n{:#?}\n{:#?}",
            attack.name,
            attack.objections,
            attack.control_objections,
            attack.output,
            attack.control_seen
        );
    }
}
