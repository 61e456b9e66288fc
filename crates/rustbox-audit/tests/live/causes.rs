//! The runbook's five root causes, each made to happen on this host: found, told apart, ended, and gone.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustbox_audit::{AuditReport, Phase, ProcRoot, Registry, Response, audit};
use rustbox_core::{FindingKind, MarkKind, RootCause};

use crate::killing;
use crate::stage::{TestBox, children_of, is_possible, left, pidfd_of, until, wait_for_end};
use crate::strangers::{SHARED_UID, Strangers};

/// Audits with `--kill`; then nothing is left to find, and no stranger came to harm.
fn found_and_ended(registry: &Registry, strangers: &mut Strangers) -> AuditReport {
    let root = ProcRoot::open_host().expect("procfs");
    let registry = strangers.beside(registry.clone());
    let report = audit(&root, &mut || registry.clone(), &killing()).expect("an audit");
    assert!(report.escalate, "each of them calls somebody");
    let remaining = report.remaining.as_deref().expect("a second audit");
    assert_eq!(strangers.findings(remaining), Vec::<&rustbox_core::Finding>::new(), "{:#?}", report.actions);
    strangers.assert_unharmed(&report, &root);
    let again = rustbox_audit::AuditOptions { response: Response::Report, ..killing() };
    let again = audit(&root, &mut || registry.clone(), &again).expect("an audit");
    assert_eq!(strangers.findings(&again.findings), Vec::<&rustbox_core::Finding>::new(), "an audit after that");
    report
}

/// The cause that is told of a process.
fn cause_of(report: &AuditReport, pid: u32) -> (FindingKind, Option<RootCause>) {
    let finding = report.findings.iter().find(|finding| finding.process.is_some_and(|key| key.pid == pid));
    assert!(finding.is_some(), "{pid} is found: {:#?}", report.findings);
    let finding = finding.expect("it is found");
    assert!(!finding.what.is_empty() && !finding.ancestry_now.is_empty() && !finding.kernel.is_empty());
    (finding.kind, finding.root_cause)
}

// Root cause 1: let go before it was attached.
#[test]
fn a_spawn_to_cgroup_race_is_told() {
    if !is_possible() {
        return;
    }
    let mut strangers = Strangers::gather();
    let mut a_box = TestBox::spawn_unattached("sleep 1000 & wait", Phase::Live);
    a_box.marks.uid = Some(SHARED_UID);
    let payload = a_box.payload();
    let (init, child) = (pidfd_of(a_box.init), pidfd_of(payload));
    let report = found_and_ended(&a_box.registry(), &mut strangers);
    assert_eq!(cause_of(&report, a_box.init), (FindingKind::OrphanDetected, Some(RootCause::SpawnToCgroupRace)));
    assert_eq!(cause_of(&report, payload).0, FindingKind::OrphanDetected);
    wait_for_end(&init);
    wait_for_end(&child);
}

// Root cause 2: moved to the root cgroup by a helper with root's rights.
#[test]
fn a_cgroup_migration_is_told() {
    if !is_possible() {
        return;
    }
    let mut strangers = Strangers::gather();
    let mut a_box = TestBox::spawn("sleep 1000 & wait; exec sleep 1001", Phase::Live);
    a_box.marks.uid = Some(SHARED_UID);
    let payload = a_box.payload();
    a_box.move_out(payload);
    let pidfd = pidfd_of(payload);
    let report = found_and_ended(&a_box.registry(), &mut strangers);
    assert_eq!(cause_of(&report, payload), (FindingKind::OrphanDetected, Some(RootCause::CgroupMigration)));
    wait_for_end(&pidfd);
    assert!(crate::state_of(a_box.init).is_some_and(|state| state != b'Z'), "the rest of a live box is left alone");
}

// Root cause 3: a daemon of a box without a PID namespace; its audit session is all that it cannot shake off.
#[test]
fn a_double_fork_escape_is_told() {
    if !is_possible() {
        return;
    }
    let session = "echo 64998 > /proc/self/loginuid && cat /proc/self/sessionid && exec sleep 0.01";
    let probe = Command::new("sh").args(["-c", session]).stderr(Stdio::null()).output().expect("run sh");
    if !probe.status.success() {
        println!("SKIPPED: this kernel has no audit sessions (CONFIG_AUDITSYSCALL), or this container may not set one");
        return;
    }
    let mut strangers = Strangers::gather();
    let mut a_box = TestBox::spawn("exec sleep 1000", Phase::Live);
    // The box of a supervisor that makes no PID namespaces: known by its cgroups and its session.
    (a_box.marks.pid_namespace, a_box.marks.init) = (None, None);
    let script = "echo 64998 > /proc/self/loginuid; cat /proc/self/sessionid; echo; \
        (setsid sh -c 'echo $$; exec sleep 1000 >/dev/null 2>&1' &)";
    let output = Command::new("sh").args(["-c", script]).output().expect("run sh");
    let text = String::from_utf8(output.stdout).expect("text");
    let numbers: Vec<u32> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    let [session, daemon] = numbers.as_slice() else { panic!("a session and a pid: {text}") };
    a_box.marks.audit_session = Some(*session);
    let pidfd = pidfd_of(*daemon);
    let report = found_and_ended(&a_box.registry(), &mut strangers);
    let (kind, cause) = cause_of(&report, *daemon);
    assert_eq!(kind, FindingKind::OrphanDetected);
    // Under a subreaper its new parent is not pid 1, and the evidence tells less.
    let reparented_to_init = report.findings.iter().any(|finding| finding.ppid == Some(1));
    assert_eq!(cause == Some(RootCause::DoubleForkEscape), reparented_to_init, "{cause:?}");
    wait_for_end(&pidfd);
}

// Root cause 4: the setup of the namespace failed, and the payload runs in the host's.
#[test]
fn a_pid_namespace_escape_is_told() {
    if !is_possible() {
        return;
    }
    let mut strangers = Strangers::gather();
    let mut a_box = TestBox::spawn("exec sleep 1000", Phase::Live);
    a_box.marks.uid = Some(SHARED_UID);
    let join: String = a_box
        .marks
        .cgroups
        .iter()
        .map(|mark| format!("echo $$ > {}/cgroup.procs; ", mark.directory.display()))
        .collect();
    // A shell that reaps it: what was ended is to be gone, and not a zombie of this test.
    let line = format!("sh -c '{join} exec setpriv --reuid {SHARED_UID} --clear-groups sleep 1000' & wait");
    let mut parent = Command::new("sh").arg0("a.out").args(["-c", &line]).spawn().expect("start sh");
    let escaped = until("it is in the cgroup, and has the uid", || {
        let child = *children_of(parent.id()).first()?;
        let status = fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        status.contains(&format!("Uid:\t{SHARED_UID}")).then_some(child)
    });
    let pidfd = pidfd_of(escaped);
    let report = found_and_ended(&a_box.registry(), &mut strangers);
    assert_eq!(cause_of(&report, escaped), (FindingKind::OrphanDetected, Some(RootCause::PidNamespaceEscape)));
    let finding = report.findings.iter().find(|finding| finding.process.is_some_and(|key| key.pid == escaped));
    let marks = &finding.expect("it was just found").marks;
    assert!(marks.iter().any(|mark| mark.mark == MarkKind::Cgroup) && marks.len() == 2, "{marks:?}");
    wait_for_end(&pidfd);
    parent.wait().expect("its parent ends");
    assert!(crate::state_of(a_box.init).is_some_and(|state| state != b'Z'), "the rest of a live box is left alone");
}

// Root cause 5: the supervisor is gone, and what it left runs on.
#[test]
fn a_supervisor_crash_is_told() {
    if !is_possible() {
        return;
    }
    let mut strangers = Strangers::gather();
    let mut a_box = TestBox::spawn("(setsid sleep 1000 &); exec sleep 1001", Phase::Abandoned);
    a_box.marks.uid = Some(SHARED_UID);
    until("a daemon", || (!children_of(a_box.init).is_empty()).then_some(()));
    let report = found_and_ended(&a_box.registry(), &mut strangers);
    assert_eq!(cause_of(&report, a_box.init), (FindingKind::OrphanDetected, Some(RootCause::SupervisorCrash)));
    assert_eq!(left(&a_box.marks), Vec::<std::path::PathBuf>::new(), "its cgroups are removed");
}
