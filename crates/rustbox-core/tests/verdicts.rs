//! The verdict table: every row, every pair of causes that hold at the same time, and why one wins.

use rustbox_core::{
    Actor, Cause, Containment, ContainmentVerdict, Ending, Evidence, ExecFailure, Finding, FindingKind, InitEnding,
    KillReason, SetupFailure, Stage, Status, judge,
};

/// A run of which everything was seen, and in which nothing has happened yet.
fn quiet() -> Evidence {
    Evidence {
        setup_failure: None,
        exec_failure: None,
        main: None,
        init: InitEnding::AsTold,
        kill_reason: None,
        cpu_over_limit: Some(false),
        wall_over_limit: Some(false),
        oom_kills: Some(0),
        pids_refusals: Some(0),
        file_size_limited: true,
        cpu_limited: true,
        output_over_limit: false,
        operator_kill: false,
        cleanup_failures: Vec::new(),
        containment: Containment {
            verdict: ContainmentVerdict::Contained,
            doubts: Vec::new(),
            processes_at_kill: Vec::new(),
            processes_at_kill_count: Some(0),
            left_session: Some(0),
            survivors: Some(0),
            zombies: Some(0),
            reaped_descendants: Some(0),
            populated_zero_ns: Some(1),
            cgroup_removed: Some(true),
            supervisor_pid_namespace: Some(1),
            pid_namespace: Some(2),
            audit_session: None,
            proofs: Vec::new(),
            findings: Vec::new(),
        },
    }
}

/// The supervisor keeps the first reason that it has.
fn kill(evidence: &mut Evidence, reason: KillReason) {
    evidence.kill_reason.get_or_insert(reason);
}

fn end(evidence: &mut Evidence, ending: Ending) {
    evidence.main.get_or_insert(ending);
}

/// A run that nothing ended early ends with 0.
fn settle(mut evidence: Evidence) -> Evidence {
    if evidence.kill_reason.is_none() {
        end(&mut evidence, Ending::Exited(0));
        kill(&mut evidence, KillReason::MainEnded);
    }
    evidence
}

/// One thing that can have happened, what it comes to, and why it outranks everything below it.
struct Happening {
    happens: fn(&mut Evidence),
    status: Status,
    cause: Cause,
    exit_code: u8,
    wins_because: &'static str,
}

fn violate(evidence: &mut Evidence) {
    evidence.containment.verdict = ContainmentVerdict::Violated;
    evidence.containment.findings.push(Finding::new(FindingKind::OrphanDetected, "a test".to_owned()));
}

fn fail_setup(evidence: &mut Evidence) {
    kill(evidence, KillReason::SetupFailed);
    evidence.setup_failure =
        Some(SetupFailure { stage: Stage::Mount, actor: Actor::Init, errno: Some(22), detail: "a test".to_owned() });
}

fn contradict(evidence: &mut Evidence) {
    evidence.init = InitEnding::Unexpected;
    // The supervisor writes down how the init ended, so this never comes alone.
    evidence.cleanup_failures.push("the box's init ended by itself".to_owned());
}

fn lose_init(evidence: &mut Evidence) {
    if evidence.init == InitEnding::AsTold {
        evidence.init = InitEnding::KilledByOther;
    }
    kill(evidence, KillReason::InitEnded);
}

/// From the most to the least important.
#[expect(clippy::too_many_lines, reason = "one table, one row after the other")]
fn happenings() -> Vec<Happening> {
    let row =
        |happens, status, cause, exit_code, wins_because| Happening { happens, status, cause, exit_code, wins_because };
    vec![
        row(violate, Status::Cv, Cause::OrphanDetected, 121, "a box that leaks is an alarm, whatever its payload did"),
        row(fail_setup, Status::Ie, Cause::IeSetup, 125, "a payload that never ran cannot have reached a limit"),
        row(
            contradict,
            Status::Ie,
            Cause::IeContradictoryEvidence,
            125,
            "our own init lied or crashed: believe nothing",
        ),
        row(
            |e| e.cleanup_failures.push("cgroup_removal_failed".to_owned()),
            Status::Ie,
            Cause::IeCleanupFailure,
            125,
            "the caller must learn that the host is not as before",
        ),
        row(
            |e| e.containment.verdict = ContainmentVerdict::Unknown,
            Status::Ie,
            Cause::IeMissingEvidence,
            125,
            "nobody looked, so nothing else is sure",
        ),
        row(
            |e| e.exec_failure = Some(ExecFailure { errno: 2 }),
            Status::Xe,
            Cause::ExecNotFound,
            127,
            "the program never ran, so what was measured is ours",
        ),
        row(
            |e| kill(e, KillReason::Interrupted { signal: 15 }),
            Status::Int,
            Cause::Interrupted,
            143,
            "we cut the run short, so no limit was put to the test",
        ),
        row(
            |e| kill(e, KillReason::Seccomp { number: 101, name: None }),
            Status::Sv,
            Cause::SvSeccomp,
            159,
            "we saw the call and ended the box for it",
        ),
        row(
            |e| {
                e.oom_kills = Some(1);
                kill(e, KillReason::OutOfMemory);
            },
            Status::Mle,
            Cause::MleKernelOom,
            137,
            "the kernel's kill for memory makes a payload hang, fail or run late, and none of these makes the kernel kill",
        ),
        row(
            |e| {
                e.output_over_limit = true;
                kill(e, KillReason::Output);
            },
            Status::Ole,
            Cause::OleOutputCap,
            124,
            "writing without end uses up time; a deadline writes nothing",
        ),
        row(
            |e| {
                e.cpu_over_limit = Some(true);
                kill(e, KillReason::CpuTime);
            },
            Status::Tle,
            Cause::TleCpu,
            124,
            "who used the CPU too long also ran too long; the other way round tells less",
        ),
        row(
            |e| {
                e.wall_over_limit = Some(true);
                kill(e, KillReason::WallTime);
            },
            Status::Tle,
            Cause::TleWall,
            124,
            "the deadline is ours and sure; how the payload ended at that moment is not",
        ),
        row(
            |e| end(e, Ending::Signaled(25)),
            Status::Fse,
            Cause::FseLimit,
            153,
            "the kernel's signal ended the process; a refused fork did not",
        ),
        row(
            |e| {
                e.pids_refusals = Some(3);
                end(e, Ending::Exited(11));
            },
            Status::Ple,
            Cause::PlePids,
            11,
            "the refused fork is the likeliest reason of the failure that follows",
        ),
        row(
            |e| end(e, Ending::Exited(3)),
            Status::Re,
            Cause::ReNonzeroExit,
            3,
            "the program had ended before somebody killed what was left",
        ),
        row(
            |e| end(e, Ending::Signaled(11)),
            Status::Sig,
            Cause::ReFatalSignal,
            139,
            "the program had ended before somebody killed what was left",
        ),
        row(
            |e| {
                e.operator_kill = true;
                lose_init(e);
            },
            Status::Sig,
            Cause::KilledExternally,
            137,
            "the operator left word",
        ),
        row(lose_init, Status::Ie, Cause::IeInitKilled, 125, ""),
    ]
}

#[test]
fn every_row_of_the_table_has_its_verdict() {
    let zero = judge(&settle(quiet()));
    assert_eq!((zero.status, zero.cause, zero.exit_code), (Status::Ok, Cause::NormalExit, 0));
    assert_eq!((zero.payload_exit_code, zero.signal), (Some(0), None));
    for row in happenings() {
        let mut evidence = quiet();
        (row.happens)(&mut evidence);
        let outcome = judge(&settle(evidence));
        assert_eq!((outcome.status, outcome.cause, outcome.exit_code), (row.status, row.cause, row.exit_code));
    }
}

/// Causes that are nothing but the supervisor's reason to kill: who comes second is not written down.
fn is_reason_only(cause: Cause) -> bool {
    matches!(cause, Cause::Interrupted | Cause::SvSeccomp)
}

/// A process ends only once, so the first ending is the only one.
fn is_ending(cause: Cause) -> bool {
    matches!(cause, Cause::FseLimit | Cause::PlePids | Cause::ReNonzeroExit | Cause::ReFatalSignal)
}

fn takes_the_reason(row: &Happening) -> bool {
    let mut evidence = quiet();
    (row.happens)(&mut evidence);
    evidence.kill_reason.is_some()
}

/// The index of the winner when `first` happens before `second`.
fn winner(rows: &[Happening], first: usize, second: usize) -> usize {
    let (one, two) = (rows[first].cause, rows[second].cause);
    let second_is_lost = is_reason_only(two) && takes_the_reason(&rows[first]) || is_ending(one) && is_ending(two);
    // The kernel's count of refused forks is there all the same.
    if second_is_lost && two != Cause::PlePids {
        return first;
    }
    if one == Cause::Interrupted && two == Cause::IeSetup {
        // What failed because we were already ending the box is no failure.
        return first;
    }
    first.min(second)
}

#[test]
fn of_two_causes_at_once_the_one_that_explains_the_other_wins() {
    let rows = happenings();
    let mut pairs = 0;
    for first in 0..rows.len() {
        for second in (0..rows.len()).filter(|second| *second != first) {
            let mut evidence = quiet();
            (rows[first].happens)(&mut evidence);
            (rows[second].happens)(&mut evidence);
            let outcome = judge(&settle(evidence));
            let wins = &rows[winner(&rows, first, second)];
            assert_eq!(
                (outcome.status, outcome.cause),
                (wins.status, wins.cause),
                "first {}, then {}: {} wins, because {}",
                rows[first].cause,
                rows[second].cause,
                wins.cause,
                wins.wins_because,
            );
            pairs += 1;
        }
    }
    assert_eq!(pairs, 18 * 17);
}

#[test]
fn every_cause_is_reached() {
    let mut reached: Vec<Cause> = happenings().iter().map(|row| row.cause).collect();
    // Reached by the tests of their own below.
    reached.extend([Cause::NormalExit, Cause::ExecDenied, Cause::ExecFormat]);
    reached.extend([Cause::TransientEscape, Cause::PostCleanupLeak, Cause::ZombieDetected]);
    reached.sort_by_key(|cause| cause.as_str());
    reached.dedup();
    assert_eq!(reached.len(), 24, "a cause was added without a row");
}

#[test]
fn a_failed_exec_is_named_by_its_errno_and_has_no_exit_code_of_the_payload() {
    let cases = [
        (2, Cause::ExecNotFound, 127),
        (20, Cause::ExecNotFound, 127),
        (13, Cause::ExecDenied, 126),
        (1, Cause::ExecDenied, 126),
        (7, Cause::ExecDenied, 126),
        (8, Cause::ExecFormat, 126),
        (80, Cause::ExecFormat, 126),
    ];
    for (errno, cause, code) in cases {
        let evidence = settle(Evidence {
            exec_failure: Some(ExecFailure { errno }),
            main: Some(Ending::Exited(127)),
            kill_reason: Some(KillReason::MainEnded),
            ..quiet()
        });
        let outcome = judge(&evidence);
        assert_eq!((outcome.status, outcome.cause, outcome.exit_code), (Status::Xe, cause, code), "errno {errno}");
        assert_eq!((outcome.payload_exit_code, outcome.signal), (None, None));
    }
}

#[test]
fn the_worst_finding_names_the_violation() {
    use FindingKind::{CoverageGap, OrphanDetected, PostCleanupLeak, StaleState, TransientEscape, ZombieDetected};
    let cases = [
        (vec![ZombieDetected], Cause::ZombieDetected),
        (vec![ZombieDetected, PostCleanupLeak], Cause::PostCleanupLeak),
        (vec![PostCleanupLeak, TransientEscape], Cause::TransientEscape),
        (vec![TransientEscape, OrphanDetected, CoverageGap], Cause::OrphanDetected),
        (vec![StaleState], Cause::PostCleanupLeak),
        (vec![], Cause::PostCleanupLeak),
    ];
    for (kinds, cause) in cases {
        let mut evidence = settle(quiet());
        evidence.containment.verdict = ContainmentVerdict::Violated;
        evidence.containment.findings = kinds.into_iter().map(|kind| Finding::new(kind, "a test".to_owned())).collect();
        let outcome = judge(&evidence);
        assert_eq!((outcome.status, outcome.cause, outcome.exit_code), (Status::Cv, cause, 121));
    }
}

#[test]
fn what_is_not_known_is_never_a_clean_verdict() {
    let ended = |change: fn(&mut Evidence)| {
        let mut evidence = settle(quiet());
        change(&mut evidence);
        judge(&evidence).status
    };
    assert_eq!(ended(|e| e.init = InitEnding::Unknown), Status::Ie, "the init was never seen to end");
    assert_eq!(ended(|e| e.main = None), Status::Ie, "nobody told how the program ended");
    assert_eq!(ended(|e| e.cpu_over_limit = None), Status::Ie, "a CPU limit, and the time used cannot be read");
    assert_eq!(
        ended(|e| {
            e.main = None;
            e.init = InitEnding::KilledByOther;
            e.oom_kills = None;
        }),
        Status::Ie,
        "somebody killed the init, and whether it was the kernel for memory cannot be read"
    );
    let without_limit = Evidence { cpu_limited: false, cpu_over_limit: None, wall_over_limit: None, ..quiet() };
    assert_eq!(judge(&settle(without_limit)).status, Status::Ok, "without limits there is nothing to know");
}

#[test]
fn memory_kills_count_even_when_the_program_shrugs_them_off() {
    // On cgroup v1 the kernel kills one task. Whether the program then returns 0 before the supervisor has killed the
    // rest is a race, and the verdict must not be.
    let evidence = Evidence { oom_kills: Some(1), main: Some(Ending::Exited(0)), ..quiet() };
    assert_eq!(judge(&settle(evidence)).cause, Cause::MleKernelOom);
}

#[test]
fn a_refused_fork_that_the_program_survives_is_no_verdict() {
    let evidence = Evidence { pids_refusals: Some(9), main: Some(Ending::Exited(0)), ..quiet() };
    assert_eq!(judge(&settle(evidence)).cause, Cause::NormalExit);
}

#[test]
fn signals_that_a_program_sends_to_itself_are_not_limits() {
    let signaled = |signal, change: fn(&mut Evidence)| {
        let mut evidence = Evidence { main: Some(Ending::Signaled(signal)), ..quiet() };
        change(&mut evidence);
        let outcome = judge(&settle(evidence));
        (outcome.status, outcome.signal)
    };
    assert_eq!(signaled(25, |e| e.file_size_limited = false), (Status::Sig, Some(25)), "SIGXFSZ without a limit");
    assert_eq!(
        signaled(24, |e| (e.cpu_limited, e.cpu_over_limit) = (false, None)),
        (Status::Sig, Some(24)),
        "SIGXCPU without a limit"
    );
    assert_eq!(signaled(24, |_| ()), (Status::Tle, Some(24)), "SIGXCPU with one is the kernel's");
    assert_eq!(signaled(31, |_| ()), (Status::Sig, Some(31)), "SIGSYS that the payload raised itself");
    assert_eq!(signaled(9, |_| ()), (Status::Sig, Some(9)), "SIGKILL among the payload's own processes");
}

#[test]
fn output_beyond_its_limit_keeps_the_program_s_own_code_when_that_came_first() {
    let evidence = Evidence { output_over_limit: true, main: Some(Ending::Exited(5)), ..quiet() };
    let outcome = judge(&settle(evidence));
    assert_eq!((outcome.cause, outcome.exit_code), (Cause::OleOutputCap, 5));
}
