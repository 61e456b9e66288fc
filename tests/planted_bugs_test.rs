//! Each defect that is put into rustbox on purpose turns a named check red, and the check is green without it.
//!
//! The defects are in a program of another name, which cannot be built as a release: see `rustbox_core::planted`.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use rustbox_tests::proof::{Part, Planted};
use rustbox_tests::{
    Boundary, BoxCommand, Call, Canary, Drive, End, Fault, How, Lab, PidFd, Recorded, Role, adopt_orphans,
    build_planted, residue, rustbox, scan, skip_unless, wait_clean, wait_dead, wait_until,
};
use rustix::process::Signal;

/// The program under test, and the defect that it has.
#[derive(Clone, Copy)]
struct Program<'a> {
    path: &'a Path,
    bug: &'a str,
}

impl Program<'_> {
    fn a_box<'lab>(&self, lab: &'lab Lab, args: &[&str]) -> BoxCommand<'lab> {
        let command = lab.a_box().attack("contain_pdeathsig_cleared", args).program(self.path);
        command.wrapped(["env".to_owned(), format!("RUSTBOX_PLANTED={}", self.bug)])
    }

    fn calls(&self, lab: &Lab, role: Role) -> Vec<Recorded> {
        let command = self.a_box(lab, &[]);
        let driven = command.drive(&Drive::record(&[role]));
        let _left = wait_clean(command.box_id(), &lab.state_dir());
        driven.calls
    }
}

/// Neither green nor red: nothing was tried.
const UNREACHED: &str = "the moment was never reached";

/// What is wrong, or nothing.
type Check = fn(&Lab, Program<'_>) -> Result<(), String>;

const CHECKS: [(&str, &str, Check); 7] = [
    ("no-death-signal", "a_wedged_init_dies_with_its_supervisor", a_wedged_init_dies_with_its_supervisor),
    ("no-life-line", "an_init_that_lost_its_signal_dies_with_its_supervisor", an_init_that_lost_its_signal_dies),
    ("attach-after-exec", "every_process_of_a_box_is_in_its_cgroup", every_process_of_a_box_is_in_its_cgroup),
    ("retry-only-not-empty", "a_busy_cgroup_is_tried_again", a_busy_cgroup_is_tried_again),
    ("kill-by-pid", "recovery_harms_nobody_that_has_the_recorded_pid", recovery_harms_nobody),
    ("audit-by-name", "a_stranger_called_rustbox_is_not_accused", a_stranger_is_not_accused),
    ("report-without-reading", "what_could_not_be_read_is_not_called_contained", what_was_not_read_is_not_reported),
];

#[test]
fn every_planted_bug_turns_its_check_red() {
    adopt_orphans();
    let planted = build_planted();
    let there = planted.as_ref().map(|_| ()).ok_or_else(|| "no compiler, and no RUSTBOX_PLANTED_BIN".to_owned());
    if !skip_unless("planted_bug", there) {
        return;
    }
    let planted = planted.expect("the planted binary");
    let begun = Instant::now();
    let claim = "each check that is green turns red with the defect that it is for";
    let mut part = Part::new("planted-bugs", claim, &["QR03", "QR04", "S12"]);
    for (number, (bug, name, check)) in CHECKS.iter().enumerate() {
        let lab = Lab::open(&format!("green-{number}"));
        let green = check(&lab, Program { path: rustbox(), bug: "" });
        part.count(green.map_err(|why| format!("{name}: {why}")));
        let lab = Lab::open(&format!("red-{number}"));
        let red = check(&lab, Program { path: &planted, bug });
        let detail = format!("{name}: {}", red.as_ref().err().map_or("did not notice", String::as_str));
        let turned_red = red.is_err_and(|why| why != UNREACHED);
        part.planted.push(Planted { bug: (*bug).to_owned(), turned_red, detail });
    }
    part.seconds = begun.elapsed().as_secs_f64();
    part.publish();
    assert_eq!(part.objections(), [""; 0], "{:#?}", part.planted);
}

#[test]
fn a_release_build_refuses_to_have_a_planted_bug() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let compile = |assertions: &str| {
        let mut rustc = std::process::Command::new(Path::new(env!("CARGO")).with_file_name("rustc"));
        rustc.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--out-dir"]);
        let out = tempfile::tempdir().expect("a directory for what is compiled");
        rustc.arg(out.path()).args(["--cfg", "feature=\"planted-bugs\"", "-C", assertions]);
        rustc.arg(root.join("crates/rustbox-core/src/planted.rs")).output()
    };
    let Ok(release) = compile("debug-assertions=off") else {
        assert!(!skip_unless("planted_release", Err("no compiler".to_owned())));
        return;
    };
    let said = String::from_utf8_lossy(&release.stderr).into_owned();
    assert!(!release.status.success() && said.contains("a release build with a defect on purpose"), "{said}");
    // The control: a build for tests may.
    let test = compile("debug-assertions=on").expect("the compiler once more");
    assert!(test.status.success(), "{test:?}");
    // What tells the two apart is what the release profile has when it says nothing else.
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("the workspace");
    let profile = manifest.split("[profile.release]").nth(1).expect("a release profile");
    let profile = profile.split("\n[").next().unwrap_or_default();
    assert!(!profile.contains("debug-assertions"), "{profile}");
}

/// Says which processes are left, and removes them.
fn survivors(lab: &Lab, box_id: &str) -> Result<(), String> {
    let left = wait_dead(box_id, &lab.state_dir());
    let alive: Vec<&String> = left.iter().filter(|line| line.starts_with("process ")).collect();
    let result = if alive.is_empty() { Ok(()) } else { Err(format!("left {alive:?}")) };
    clean(lab, box_id);
    result
}

/// `rustbox cleanup` of the true program takes whatever a defect leaves.
fn clean(lab: &Lab, box_id: &str) {
    let cleaned = wait_until(Duration::from_secs(10), || {
        let _output = lab.call(["cleanup", box_id]);
        rustbox_tests::reap_orphans();
        residue(box_id, &lab.state_dir()).is_empty().then_some(())
    });
    assert!(cleaned.is_some(), "cannot clean up: {:?}", residue(box_id, &lab.state_dir()));
}

/// Starts a box whose payload stays, kills its keeper, and says which process is its init.
fn without_keeper<'lab>(lab: &'lab Lab, program: Program<'_>) -> (rustbox_tests::RunningBox<'lab>, u32) {
    let running = program.a_box(lab, &["stay"]).start();
    running.await_output("armed:");
    let children: Vec<_> = scan().into_iter().filter(|p| p.ppid == running.pid()).collect();
    let named = |name: &str| children.iter().find(|p| p.comm == name).expect("a process of the box").pid;
    PidFd::open(named("rustbox-keeper")).expect("pidfd of the keeper").signal(Signal::KILL);
    let init = named("rustbox-init");
    (running, init)
}

fn a_wedged_init_dies_with_its_supervisor(lab: &Lab, program: Program<'_>) -> Result<(), String> {
    let (running, init) = without_keeper(lab, program);
    let box_id = running.box_id().to_owned();
    PidFd::open(init).expect("pidfd of the init").signal(Signal::STOP);
    running.kill();
    survivors(lab, &box_id)
}

/// `PR_SET_PDEATHSIG` and `PR_GET_PDEATHSIG`, as the driver shows a first argument.
const SET_SIGNAL: &str = "1";
const GET_SIGNAL: &str = "2";

fn an_init_that_lost_its_signal_dies(lab: &Lab, program: Program<'_>) -> Result<(), String> {
    let mut faults: Vec<(Boundary, Fault)> = Vec::new();
    for call in program.calls(lab, Role::Init).iter().filter(|call| call.boundary.call == Call::named("prctl")) {
        match call.operand.as_str() {
            SET_SIGNAL => faults.push((call.boundary, Fault::Lie(How::Once))),
            GET_SIGNAL => faults.push((call.boundary, Fault::Tell(9))),
            _ => {}
        }
    }
    let keeper = program.calls(lab, Role::Keeper);
    let waits = keeper.iter().find(|call| call.boundary.call == Call::named("ppoll")).ok_or("no wait of the keeper")?;
    faults.push((waits.boundary, Fault::Kill));
    faults.push((before_the_kill(lab, program)?, Fault::Kill));
    // A keeper that is dead too early is noticed, and the supervisor comes to another kill than this.
    for _ in 0..60 {
        let command = program.a_box(lab, &[]);
        let driven = command.drive(&Drive { faults: faults.clone(), together: true, ..Drive::default() });
        let survived = survivors(lab, command.box_id());
        if driven.reached() {
            return survived;
        }
    }
    Err(UNREACHED.to_owned())
}

/// The moment at which everything of a box is there, and nothing is killed yet.
fn before_the_kill(lab: &Lab, program: Program<'_>) -> Result<Boundary, String> {
    let calls = program.calls(lab, Role::Supervisor);
    let kill = |call: &&Recorded| {
        call.operand.ends_with("/cgroup.kill") && call.boundary.call == Call::named("write")
            || call.boundary.call == Call::named("pidfd_send_signal")
    };
    calls.iter().find(kill).map(|call| call.boundary).ok_or_else(|| "no kill".to_owned())
}

fn every_process_of_a_box_is_in_its_cgroup(lab: &Lab, program: Program<'_>) -> Result<(), String> {
    let running = program.a_box(lab, &["stay"]).start();
    running.await_output("armed:");
    let name = format!("rustbox-{}", running.box_id());
    let init = scan().into_iter().find(|p| p.ppid == running.pid() && p.comm == "rustbox-init").expect("an init");
    let members = scan().into_iter().filter(|p| p.pid_namespace.is_some() && p.pid_namespace == init.pid_namespace);
    let outside: Vec<String> =
        members.filter(|p| !p.is_in_cgroup(&name)).map(|p| format!("{} {}", p.pid, p.comm)).collect();
    let box_id = running.box_id().to_owned();
    running.kill();
    clean(lab, &box_id);
    if outside.is_empty() { Ok(()) } else { Err(format!("outside of its cgroup: {outside:?}")) }
}

fn a_busy_cgroup_is_tried_again(lab: &Lab, program: Program<'_>) -> Result<(), String> {
    let calls = program.calls(lab, Role::Supervisor);
    let rmdir = calls.iter().find(|c| c.boundary.call == Call::named("unlinkat") && c.operand.starts_with("rustbox-"));
    let busy = Fault::Fail(nix::errno::Errno::EBUSY as i32, How::Once);
    let command = program.a_box(lab, &[]);
    let driven = command.drive(&Drive::fault(rmdir.ok_or("no removal of a cgroup")?.boundary, busy));
    let left = residue(command.box_id(), &lab.state_dir());
    clean(lab, command.box_id());
    if driven.reached() && driven.end == End::Exited(0) && left.is_empty() {
        return Ok(());
    }
    Err(format!("one EBUSY, and it ended with {:?} and left {left:?}", driven.end))
}

fn recovery_harms_nobody(lab: &Lab, program: Program<'_>) -> Result<(), String> {
    let (running, _init) = without_keeper(lab, program);
    let (box_id, dead) = (running.box_id().to_owned(), running.pid());
    running.kill();
    let _dead = wait_dead(&box_id, &lab.state_dir());
    // As if the pid had been given to somebody else since.
    let stranger = Canary::start(&format!("{box_id}-pid"));
    let mut rewritten = 0;
    for file in ["lock", "marks"] {
        let path = lab.state_dir().join("boxes").join(&box_id).join(file);
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let other = text.replace(&format!("\"pid\":{dead},"), &format!("\"pid\":{},", stranger.pid()));
        rewritten += usize::from(other != text);
        std::fs::write(&path, other).expect("rewrite a record");
    }
    let mut cleanup = std::process::Command::new(program.path);
    cleanup.env("RUSTBOX_PLANTED", program.bug).arg("--state-dir").arg(lab.state_dir()).args(["cleanup", &box_id]);
    let output = cleanup.output().expect("run rustbox cleanup");
    let pidfd = PidFd::open(stranger.pid()).expect("pidfd of a stranger");
    let harmed = pidfd.wait(Duration::from_millis(200));
    clean(lab, &box_id);
    match (rewritten, harmed) {
        (0, _) => Err("no record named the pid".to_owned()),
        (_, true) => Err(format!("the stranger with the recorded pid was killed: {output:?}")),
        (_, false) => Ok(()),
    }
}

fn a_stranger_is_not_accused(lab: &Lab, program: Program<'_>) -> Result<(), String> {
    let command = program.a_box(lab, &[]);
    let _stranger = Canary::start(command.box_id());
    let ended = command.finish();
    clean(lab, &ended.box_id);
    if ended.code() == Some(0) { Ok(()) } else { Err(format!("{:?}: {}", ended.code(), ended.stderr)) }
}

fn what_was_not_read_is_not_reported(lab: &Lab, program: Program<'_>) -> Result<(), String> {
    // By the true program's trace: a program that does not read does not come there.
    let calls = Program { path: rustbox(), bug: "" }.calls(lab, Role::Supervisor);
    let kill = before_the_kill(lab, Program { path: rustbox(), bug: "" })?;
    let after = calls.iter().skip_while(|call| call.boundary != kill);
    let reads = |call: &&Recorded| {
        let counts = ["/cgroup.events", "/cgroup.procs"].iter().any(|file| call.operand.ends_with(file));
        counts && call.boundary.call.name().contains("read")
    };
    let mut faults = Vec::new();
    for call in after.filter(reads) {
        faults.push((call.boundary, Fault::Fail(nix::errno::Errno::EIO as i32, How::Once)));
    }
    if faults.is_empty() {
        return Err("nothing is read after the kill".to_owned());
    }
    let command = program.a_box(lab, &[]);
    let driven = command.drive(&Drive { faults, ..Drive::default() });
    clean(lab, command.box_id());
    let said = command.result_text().unwrap_or_default();
    if driven.end == End::Exited(0) { Err(format!("success without evidence: {said:.300}")) } else { Ok(()) }
}
