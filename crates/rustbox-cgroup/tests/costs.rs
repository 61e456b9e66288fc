//! The README's table of costs, counted: this program runs itself, and counts the system calls between marks.
//!
//! Theory of operation: the child stops itself and is seized. It then makes each call of the table between two
//! `getppid`, which nothing else here calls. What the allocator asks of the kernel is left out: it is the process's
//! history, not the call's. The parent compares with the README, cell by cell; a cell that is not a number is not compared.
//! A host with other hierarchies may have other numbers, so only CI, whose hosts are known, fails for one.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test without the harness fails by panicking, and tells what it does"
)]

use std::collections::BTreeMap;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustbox_cgroup::Hierarchies;
use rustbox_core::{BoxId, CgroupBackend, RunSpec};
use rustix::process::{PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open, pidfd_send_signal};

/// x86-64 numbers: getppid is the mark; mmap, mprotect, munmap, brk and mremap are the allocator's.
const MARK: u64 = 110;
const ALLOCATOR: [u64; 5] = [9, 10, 11, 12, 25];

const README: &str = include_str!("../README.md");

/// The rows, in the order in which the child makes the calls.
const ROWS: [&str; 14] = [
    "`Hierarchies::detect`",
    "`missing`",
    "`create`",
    "`verify_member`",
    "`members`",
    "`kill`",
    "`wait_empty`",
    "`cpu_usage`",
    "`oom_kills`",
    "`pids_current`",
    "`memory_peak`",
    "`pids_refusals`",
    "`oom_event_fd`",
    "`remove`",
];

/// Makes one call between two marks.
fn measured<T>(call: impl FnOnce() -> T) -> T {
    let _mark = getppid();
    let result = call();
    let _mark = getppid();
    result
}

/// The calls of the table, in its order, on one box with one process.
fn child(backend: CgroupBackend) {
    let plan = RunSpec { argv: vec!["x".into()], ..RunSpec::default() }.validate().expect("a plan");
    let id: BoxId = format!("test-costs-{}", std::process::id()).parse().expect("an id");
    // The first box on a v2 host may have to enable controllers for all that follow.
    let first = Hierarchies::detect(Some(backend)).expect("hierarchies").create(&id, &plan.limits, plan.mode);
    first.expect("a first box").remove(Duration::from_secs(10)).expect("removed");
    let mut member = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("a process");
    let deadline = Duration::from_secs(10);
    kill_process(getpid(), Signal::STOP).expect("stop for the tracer");
    let hierarchies = measured(|| Hierarchies::detect(Some(backend))).expect("hierarchies");
    assert!(measured(|| hierarchies.missing(&plan.limits)).is_empty());
    let group = measured(|| hierarchies.create(&id, &plan.limits, plan.mode)).expect("a box");
    for path in group.paths() {
        std::fs::write(path.join("cgroup.procs"), member.id().to_string()).expect("attach");
    }
    measured(|| group.verify_member(member.id())).expect("a member");
    measured(|| group.members()).expect("members");
    let _how = measured(|| group.kill()).expect("a kill");
    member.wait().expect("reap");
    assert!(measured(|| group.wait_empty(deadline)).expect("a wait").is_empty());
    measured(|| group.cpu_usage()).expect("CPU time");
    measured(|| group.oom_kills()).expect("a count");
    measured(|| group.pids_current()).expect("a count");
    let _since_5_19 = measured(|| group.memory_peak());
    measured(|| group.pids_refusals()).expect("a count");
    measured(|| group.oom_event_fd()).expect("an event");
    measured(|| group.remove(deadline)).expect("removed");
}

/// The numbers of system calls between the marks.
fn count(child: &Child) -> Vec<usize> {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("wait for the child");
    assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD).expect("seize the child");
    let number = rustix::process::Pid::from_child(child);
    let pidfd = pidfd_open(number, PidfdFlags::empty()).expect("pidfd of the child");
    pidfd_send_signal(pidfd, Signal::CONT).expect("continue");
    let (mut counts, mut open, mut entering) = (Vec::new(), None, true);
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)).expect("wait for the child") {
            WaitStatus::PtraceSyscall(_) => {
                if entering {
                    let number = ptrace::getregs(pid).expect("registers").orig_rax;
                    match (&mut open, number) {
                        (None, MARK) => open = Some(0),
                        (Some(calls), MARK) => {
                            counts.push(*calls);
                            open = None;
                        }
                        (Some(calls), number) if !ALLOCATOR.contains(&number) => *calls += 1,
                        _ => {}
                    }
                }
                entering = !entering;
                ptrace::syscall(pid, None).expect("go on");
            }
            WaitStatus::Stopped(_, signal) => ptrace::syscall(pid, signal).expect("go on"),
            WaitStatus::PtraceEvent(..) => ptrace::syscall(pid, None).expect("go on"),
            WaitStatus::Exited(_, code) => {
                assert_eq!(code, 0, "the child failed");
                return counts;
            }
            WaitStatus::Signaled(..) | WaitStatus::Continued(_) | WaitStatus::StillAlive => {
                panic!("the child was killed")
            }
        }
    }
}

/// The README's rows for one backend: what is a number, by the name of the call.
fn promised(backend: CgroupBackend) -> BTreeMap<String, String> {
    let mut rows = README
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .map(|line| line.trim_end_matches(" |").split(" | ").map(str::to_owned).collect::<Vec<_>>());
    let head = rows.find(|cells| cells.first().is_some_and(|c| c == "call")).expect("the table");
    let column = head.iter().position(|cell| *cell == backend.to_string()).expect("a column for each backend");
    rows.filter_map(|cells| Some((cells.first()?.clone(), cells.get(column)?.clone()))).collect()
}

fn compare(backend: CgroupBackend) -> usize {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program).args(["child", &backend.to_string()]).spawn().expect("the child");
    let counts = count(&child);
    let _reaped = child.try_wait();
    assert_eq!(counts.len(), ROWS.len(), "{backend}: {counts:?}");
    let promised = promised(backend);
    let mut wrong = 0;
    for (row, counted) in ROWS.iter().zip(&counts) {
        let said = promised.get(*row).map_or("", String::as_str);
        let held = said.parse::<usize>().map_or(!said.is_empty(), |said| said == *counted);
        println!(
            "{backend:>8} {row:<24} {counted:>4} counted, {said} in the README{}",
            if held { "" } else { ": WRONG" }
        );
        wrong += usize::from(!held);
    }
    wrong
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let backends = [CgroupBackend::Hybrid, CgroupBackend::V1, CgroupBackend::V2];
    if let [_, child_word, name] = words.as_slice()
        && child_word == "child"
    {
        child(*backends.iter().find(|backend| backend.to_string() == *name).expect("a backend"));
        return ExitCode::SUCCESS;
    }
    let plan = RunSpec { argv: vec!["x".into()], ..RunSpec::default() }.validate().expect("a plan");
    let (mut wrong, mut compared) = (0, 0);
    for backend in backends {
        match Hierarchies::detect(Some(backend)) {
            Ok(found) if found.missing(&plan.limits).is_empty() && rustix::process::geteuid().is_root() => {
                wrong += compare(backend);
                compared += 1;
            }
            Ok(_) => eprintln!("SKIP on {backend}: controllers are missing, or the right to use them"),
            Err(error) => eprintln!("SKIP on {backend}: {error}"),
        }
    }
    let ci = std::env::var_os("RUSTBOX_CI").is_some();
    assert!(compared > 0 || !ci, "no usable cgroup backend in CI");
    if ci && wrong > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
