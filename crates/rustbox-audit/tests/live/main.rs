//! The audit on the live host, against processes that are really where they must not be.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test stops where its stage cannot be set")]

mod causes;
mod stage;
mod strangers;
mod sys;
mod watch;

use std::time::{Duration, Instant};

use rustbox_audit::{
    Action, ActionOutcome, AuditOptions, Patience, Phase, PidNamespaceMark, ProcRoot, ProcSnapshot, Proof, Registry,
    Response, Verdict, act, audit, audit_box, read_cgroups,
};
use rustbox_core::{FindingKind, MarkKind, RootCause};

use stage::{Canary, TestBox, is_possible, key_of, left, state_of, until, wait_for_end};
use strangers::Strangers;

fn killing() -> AuditOptions {
    AuditOptions { response: Response::Kill, ..AuditOptions::default() }
}

fn pids(root: &ProcRoot) -> Vec<u32> {
    ProcSnapshot::take(root, &Registry::default()).expect("a look").pids
}

// S03, root cause 2: a payload that root moved to the root cgroup.
#[test]
fn a_payload_outside_its_cgroup_is_found_and_ended() {
    if !is_possible() {
        return;
    }
    let mut strangers = Strangers::gather();
    let a_box = TestBox::spawn("sleep 1000 & wait; exec sleep 1001", Phase::Live);
    let payload = a_box.payload();
    let root = ProcRoot::open_host().expect("procfs");
    let registry = strangers.beside(a_box.registry());
    let healthy = audit(&root, &mut || registry.clone(), &AuditOptions::default()).expect("an audit");
    assert_eq!((healthy.verdict, healthy.findings), (Verdict::Clean, vec![]), "in its cgroup it is no finding");

    a_box.move_out(payload);
    let pidfd = stage::pidfd_of(payload);
    let report = audit(&root, &mut || registry.clone(), &killing()).expect("an audit");
    let [finding] = report.findings.as_slice() else { panic!("one finding: {:#?}", report.findings) };
    assert_eq!(finding.kind, FindingKind::OrphanDetected);
    assert_eq!(finding.process.map(|key| key.pid), Some(payload));
    assert_eq!(finding.root_cause, Some(RootCause::CgroupMigration));
    assert!(finding.marks.iter().any(|mark| mark.mark == MarkKind::PidNamespace));
    assert_eq!(finding.ancestry_now.first().map(|key| key.pid), Some(a_box.init));
    wait_for_end(&pidfd);
    assert_eq!(report.remaining, Some(vec![]), "the second audit is clean");
    assert_eq!((report.verdict, report.exit_code), (Verdict::Clean, 0));
    assert!(state_of(a_box.init).is_some(), "the rest of a live box is left alone");
    strangers.assert_unharmed(&report, &root);
}

// S04, S10, root causes 3 and 5: nobody owns the box any more, and its payload has daemonised.
#[test]
fn an_abandoned_box_is_ended_with_all_its_daemons() {
    if !is_possible() {
        return;
    }
    let mut strangers = Strangers::gather();
    let mut a_box = TestBox::spawn("(setsid sleep 1000 & ) ; (sleep 1001 &) ; exec sleep 1002", Phase::Abandoned);
    until("three processes", || (stage::children_of(a_box.init).len() == 2).then_some(()));
    let root = ProcRoot::open_host().expect("procfs");
    let registry = strangers.beside(a_box.registry());
    let report = audit(&root, &mut || registry.clone(), &killing()).expect("an audit");
    let orphans = report.findings.iter().filter(|finding| finding.kind == FindingKind::OrphanDetected).count();
    // The init, its two daemons, and `unshare`, which sits in the box's cgroup.
    assert_eq!(orphans, 4, "{:#?}", report.findings);
    assert_eq!(report.remaining, Some(vec![]), "actions: {:#?}", report.actions);
    assert_eq!(left(&a_box.marks), Vec::<std::path::PathBuf>::new(), "its cgroups are removed");
    strangers.assert_unharmed(&report, &root);
    a_box.close();
}

// S05, S37-S41: the parent that does not reap is named.
#[test]
fn a_zombie_is_named_with_the_parent_that_does_not_reap_it() {
    if !is_possible() {
        return;
    }
    let mut strangers = Strangers::gather();
    // The shell's child becomes the child of `sleep`, which never waits.
    let a_box = TestBox::spawn("sleep 0 & exec sleep 1000", Phase::Abandoned);
    let zombie =
        until("a zombie", || stage::children_of(a_box.init).into_iter().find(|pid| state_of(*pid) == Some(b'Z')));
    let root = ProcRoot::open_host().expect("procfs");
    let patience = Patience { zombie: Duration::from_millis(300), ..Patience::default() };
    let options = AuditOptions { patience, ..AuditOptions::default() };
    let registry = strangers.beside(a_box.registry());
    let report = audit(&root, &mut || registry.clone(), &options).expect("an audit");
    let finding = report.findings.iter().find(|finding| finding.kind == FindingKind::ZombieDetected);
    let finding = finding.unwrap_or_else(|| panic!("no zombie: {:#?}", report.findings));
    assert_eq!(finding.process.map(|key| key.pid), Some(zombie));
    assert_eq!((finding.ppid, finding.parent_comm.as_deref()), (Some(a_box.init), Some("sleep")));
    assert_eq!(finding.state, Some('Z'));
    strangers.assert_unharmed(&report, &root);
}

// S28-S31: a pid that was given away is neither accused nor signalled, not even with the same start time.
#[test]
fn a_recycled_pid_is_never_signalled() {
    if !is_possible() {
        return;
    }
    let mut strangers = Strangers::gather();
    let mut a_box = TestBox::spawn("exec sleep 1000", Phase::Abandoned);
    let (marks, recorded) = (a_box.marks.clone(), a_box.marks.init.expect("an init"));
    a_box.close();
    // The same pid and, with luck, the same tick of the start time.
    let _child = stage::Recycled::spawn(recorded.pid);
    let stranger = recorded.pid;
    let mut same_tick = marks.clone();
    same_tick.init = key_of(stranger);
    for marks in [marks, same_tick] {
        let registry = strangers.beside(Registry { boxes: vec![marks.clone()], ..Registry::default() });
        let root = ProcRoot::open_host().expect("procfs");
        let report = audit(&root, &mut || registry.clone(), &killing()).expect("an audit");
        assert_eq!(report.findings, vec![], "a stranger with a recorded pid is no finding");
        assert!(pids(&root).contains(&stranger), "it was scanned");
        strangers.assert_unharmed(&report, &root);
        // Even told to, the writer refuses: no mark is left when the process is read again.
        let order = Action::End { box_id: marks.box_id.clone(), process: marks.init.expect("an init") };
        let results = act(&root, &mut || registry.clone(), &[order], Duration::from_secs(1)).expect("a look");
        assert!(results.iter().all(|result| result.outcome == ActionOutcome::NothingToDo), "{results:#?}");
        assert_eq!(state_of(stranger), Some(b'S'), "it lives");
    }
}

// D33: a leased uid alone accuses nobody, and clears nobody.
#[test]
fn a_leased_uid_alone_is_a_gap_and_never_a_reason_to_kill() {
    if !is_possible() {
        return;
    }
    let mut strangers = Strangers::gather();
    let mut stranger = Canary::with_uid(64_999);
    let registry = strangers.beside(Registry { uids: Some(64_999..=64_999), ..Registry::default() });
    let root = ProcRoot::open_host().expect("procfs");
    let report = audit(&root, &mut || registry.clone(), &killing()).expect("an audit");
    let [finding] = report.findings.as_slice() else { panic!("one finding: {:#?}", report.findings) };
    assert_eq!(finding.kind, FindingKind::CoverageGap);
    assert_eq!(finding.process.map(|key| key.pid), Some(stranger.pid()));
    assert_eq!((report.verdict, report.exit_code, report.actions.as_ref()), (Verdict::NoVerdict, 2, None));
    assert!(stranger.is_alive());
    strangers.assert_unharmed(&report, &root);
}

// S06, S64: the end of a box is proved by the kernel, without a look at the host.
#[test]
fn the_end_of_a_box_is_proved_without_looking_at_the_host() {
    if !is_possible() {
        return;
    }
    let mut a_box = TestBox::spawn("sleep 1000 & sleep 1001 & wait", Phase::Closed);
    let payload = a_box.payload();
    a_box.move_out(payload);
    let escaped = stage::pidfd_of(payload);
    let namespace = std::fs::File::open(format!("/proc/{}/ns/pid", a_box.init)).expect("a namespace");
    a_box.marks.pid_namespace = Some(PidNamespaceMark::held(namespace.into()).expect("a namespace"));
    let no_look = &mut || -> Result<ProcRoot, _> { panic!("the host was looked at") };

    let pidfd = rustix::io::dup(&a_box.init_pidfd).expect("a descriptor");
    let looked = audit_box(
        &a_box.marks,
        Some(std::os::fd::AsFd::as_fd(&pidfd)),
        &mut ProcRoot::open_host,
        &AuditOptions::default(),
    );
    let looked = looked.expect("an audit");
    assert_eq!(looked.verdict, Verdict::Findings, "while it lives it is a leak: {looked:#?}");
    assert!(looked.findings.iter().any(|finding| finding.process.is_some_and(|key| key.pid == payload)));

    a_box.close();
    let started = Instant::now();
    let proved = audit_box(&a_box.marks, Some(std::os::fd::AsFd::as_fd(&pidfd)), no_look, &AuditOptions::default());
    let cost = started.elapsed();
    let proved = proved.expect("proofs");
    assert_eq!(proved.verdict, Verdict::Clean);
    assert!(proved.proofs.contains(&Proof::InitEnded) && proved.proofs.contains(&Proof::InitReaped), "{proved:#?}");
    println!("audit_box: {cost:?}, {:?}", proved.proofs);
    wait_for_end(&escaped);
}

// Whoever sits in a cgroup below the box's is in the box, and the box's own cgroups list him.
#[test]
fn a_cgroup_below_the_boxes_is_inside_it() {
    if !is_possible() {
        return;
    }
    let mut strangers = Strangers::gather();
    let mut a_box = TestBox::spawn("sleep 1000 & wait", Phase::Live);
    let payload = a_box.payload();
    for mark in &a_box.marks.cgroups {
        let below = mark.directory.join("below/deeper");
        std::fs::create_dir_all(&below).expect("make a cgroup");
        std::fs::write(below.join("cgroup.procs"), payload.to_string()).expect("move a process");
    }
    let seen = read_cgroups(&a_box.registry());
    assert_eq!(seen.len(), a_box.marks.cgroups.len());
    for one in &seen {
        let members = &one.state.as_ref().expect("a directory").members;
        assert!(members.contains(&payload) && members.contains(&a_box.init), "{one:?}");
    }
    let root = ProcRoot::open_host().expect("procfs");
    let registry = strangers.beside(a_box.registry());
    let report = audit(&root, &mut || registry.clone(), &AuditOptions::default()).expect("an audit");
    assert_eq!(report.findings, vec![]);
    strangers.assert_unharmed(&report, &root);
    for mark in &a_box.marks.cgroups {
        std::fs::write(mark.directory.join("cgroup.procs"), payload.to_string()).expect("move a process");
        std::fs::remove_dir(mark.directory.join("below/deeper")).expect("remove a cgroup");
        std::fs::remove_dir(mark.directory.join("below")).expect("remove a cgroup");
    }
    a_box.close();
}

// S56: boxes that start and end beside the audit are no findings.
#[test]
fn healthy_boxes_that_come_and_go_are_no_findings() {
    if !is_possible() {
        return;
    }
    let default = if std::env::var_os("CI").is_some() { 1000 } else { 100 };
    let audits = std::env::var("RUSTBOX_AUDITS").map_or(default, |text| text.parse().expect("a number"));
    let mut strangers = Strangers::gather();
    let nobody = strangers.beside(Registry { uids: Some(64_100..=64_199), ..Registry::default() });
    let registry = std::sync::Mutex::new(nobody.clone());
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let root = ProcRoot::open_host().expect("procfs");
    let boxes = std::thread::scope(|scope| {
        let runner = scope.spawn(|| {
            let mut boxes = 0;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let mut a_box = TestBox::spawn("sleep 1000 & (sleep 0 &) ; wait", Phase::Live);
                registry.lock().expect("no panic").boxes.push(a_box.marks.clone());
                a_box.payload();
                a_box.close();
                registry.lock().expect("no panic").boxes.clone_from(&nobody.boxes);
                boxes += 1;
            }
            boxes
        });
        let options = AuditOptions { interval: Duration::from_millis(1), ..AuditOptions::default() };
        let mut found = Vec::new();
        for number in 0..audits {
            let report = audit(&root, &mut || registry.lock().expect("no panic").clone(), &options).expect("an audit");
            if number == 0 {
                strangers.assert_unharmed(&report, &root);
            }
            found.extend(report.findings);
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(found.first(), None);
        runner.join().expect("the runner ends")
    });
    println!("{audits} audits beside {boxes} boxes: 0 findings");
    assert!(boxes > 0, "boxes ran");
}
