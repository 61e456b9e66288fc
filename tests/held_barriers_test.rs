//! While an init, or what is to become the payload, is held at a system call, a process of the box's own uid tries to
//! trace it, to read its memory and its environment, and to open its descriptors. runc CVE-2016-9962, bubblewrap CVE-2016-8659.
#![expect(clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking, and tells its numbers")]

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustbox_tests::{
    Boundary, Drive, End, Fault, Lab, Pen, Recorded, Role, SeenProcess, processes_of, wait_clean, wait_until,
};

/// So long a process is held: the attack takes a tenth of that.
const HELD: Duration = Duration::from_millis(1200);
/// A uid of the range, for the control.
const CONTROL: u32 = 70_997;
/// Of so many calls one is tried, so that the whole takes some seconds.
const MOMENTS: usize = 7;

/// The uid that a box has leased, by its record.
fn uid_of(lab: &Lab, box_id: &str) -> Option<u32> {
    let text = std::fs::read_to_string(lab.state_dir().join("boxes").join(box_id).join("lock")).ok()?;
    let record: serde_json::Value = serde_json::from_str(&text).ok()?;
    u32::try_from(record["uid"].as_u64()?).ok()
}

/// The process of this role, when it stands at this call.
fn held(box_id: &str, at: Boundary) -> Option<SeenProcess> {
    let all = processes_of(box_id);
    let init =
        all.iter().find(|p| p.comm == "rustbox-init" && all.iter().any(|s| s.pid == p.ppid && s.comm == "rustbox"))?;
    let wanted = match at.role {
        Role::Child => all.iter().find(|p| p.ppid == init.pid)?,
        Role::Supervisor | Role::Keeper | Role::Init => init,
    };
    let stands = || {
        let syscall = std::fs::read_to_string(format!("/proc/{}/syscall", wanted.pid)).ok()?;
        let number: u64 = syscall.split(' ').next()?.parse().ok()?;
        let state = SeenProcess::read(wanted.pid)?.state;
        (state == 't' && rustbox_tests::Call::numbered(number) == at.call).then_some(syscall)
    };
    // Each call stops it for a moment; this one holds it.
    let first = stands()?;
    let moved = wait_until(Duration::from_millis(30), || (stands().as_ref() != Some(&first)).then_some(()));
    moved.is_none().then(|| wanted.clone())
}

/// Holds a process at a call and attacks it; whether it could be attacked, and with what success.
fn attacked(lab: &Lab, call: &Recorded) -> Option<Vec<String>> {
    let command = lab.a_box().attack("contain_fingerprint", &[]);
    let (at, box_id) = (call.boundary, command.box_id().to_owned());
    let told = std::thread::scope(|scope| {
        let driver = scope.spawn(|| command.drive(&Drive::fault(at, Fault::DelayEntry(HELD))));
        let found = wait_until(Duration::from_secs(5), || {
            if driver.is_finished() { Some(None) } else { held(&box_id, at).map(Some) }
        });
        let seen = found.flatten().and_then(|process| Some((process, uid_of(lab, &box_id)?)));
        let told = seen.map(|(process, uid)| {
            let (pid, uid) = (process.pid.to_string(), uid.to_string());
            let report = Pen::of("contain_ptrace_init", &[&pid]).flag("--uid").flag(&uid).run();
            let lines =
                report.stdout.lines().filter_map(|line| line.split_once("tried: ")).map(|(_, told)| told.to_owned());
            let still = SeenProcess::read(process.pid).is_some_and(|now| now.state == 't');
            (still, lines.collect::<Vec<_>>())
        });
        let driven = driver.join().expect("the driver");
        assert_eq!(driven.end, End::Exited(0), "{:?}", command.collect());
        told
    });
    let left = wait_clean(&box_id, &lab.state_dir());
    assert!(left.is_empty(), "{left:#?}");
    // One that went on meanwhile was not attacked at this call.
    told.filter(|(still, lines)| *still && !lines.is_empty()).map(|(_, lines)| lines)
}

/// Attacks of one role at some of its calls.
fn sweep(role: Role, from: impl Fn(&Recorded) -> bool) {
    let lab = Lab::open(&format!("held-{role:?}").to_lowercase());
    let command = lab.a_box().attack("contain_fingerprint", &[]);
    let driven = command.drive(&Drive::record(&[role]));
    assert_eq!(driven.end, End::Exited(0), "{:?}", command.collect());
    let since = driven.calls.iter().position(from).expect("where to begin");
    let calls = &driven.calls[since..];
    let step = calls.len().div_ceil(MOMENTS).max(1);
    let mut tried = 0;
    for call in calls.iter().step_by(step) {
        let Some(attempts) = attacked(&lab, call) else { continue };
        tried += 1;
        let succeeded: Vec<_> = attempts.iter().filter(|attempt| attempt.ends_with("= OK")).collect();
        assert!(succeeded.is_empty(), "{call}: {succeeded:?}");
        assert!(attempts.len() >= 9, "{call}: {attempts:?}");
    }
    eprintln!("held_barriers: {role:?} attacked at {tried} of {} calls, 0 attempts succeeded", calls.len());
    assert!(tried * 2 >= MOMENTS, "only {tried} moments were met");
}

#[test]
fn an_init_cannot_be_read_by_its_boxs_uid_at_any_call() {
    sweep(Role::Init, |_| true);
}

#[test]
fn what_will_be_the_payload_cannot_be_read_by_its_own_uid_before_its_exec() {
    sweep(Role::Child, |call| call.boundary.call == rustbox_tests::Call::named("setresuid"));
}

#[test]
fn an_ordinary_process_of_that_uid_can_be_read() {
    // The control: the same attempts on a process that did not protect itself.
    let mut sleep = Command::new("/bin/sleep");
    let mut ordinary = sleep.arg("60").uid(CONTROL).gid(CONTROL).stdin(Stdio::null()).spawn().expect("a process");
    let pid = ordinary.id().to_string();
    let report = Pen::of("contain_ptrace_init", &[&pid]).flag("--uid").flag(&CONTROL.to_string()).run();
    let _ended = (ordinary.kill(), ordinary.wait());
    report.assert_escaped();
    assert!(report.stdout.contains("/mem) = OK"), "{report:?}");
}
