//! What a process waits for that attaches itself to cgroup v1.

use std::fmt::Write as _;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustbox_core::CgroupBackend;

use crate::common::{Box, limits, on_each_backend};

/// So long that nobody's grace period is still on its way when the next process attaches itself.
const PAUSE: Duration = Duration::from_millis(80);
const ROUNDS: usize = 9;

/// Starts a shell that writes a 0 to each file, as an init does, and ends. Its start is in the time.
fn attach_to(files: &[PathBuf]) -> Duration {
    std::thread::park_timeout(PAUSE);
    let mut script = String::new();
    for file in files {
        writeln!(script, "echo 0 >{} || exit 1", file.display()).unwrap();
    }
    let start = Instant::now();
    let status = Command::new("/bin/sh").args(["-c", &script]).status().expect("a shell");
    assert!(status.success(), "{script}");
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The control is the other file of the same directory, through which a process moves with all its threads.
#[test]
fn an_init_that_attaches_itself_waits_for_no_grace_period() {
    on_each_backend(|hierarchies| {
        if hierarchies.backend() == CgroupBackend::V2 {
            return;
        }
        let a_box = Box::create(hierarchies, "attach", &limits());
        let given: Vec<BorrowedFd<'_>> = a_box.group().attach_fds();
        let name = |fd: &BorrowedFd<'_>| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        let ours: Vec<PathBuf> = given.iter().map(name).collect();
        assert!(!ours.is_empty());
        let theirs: Vec<PathBuf> = ours.iter().map(|file| file.with_file_name("cgroup.procs")).collect();
        let (mut attached, mut control) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            attached.push(attach_to(&ours));
            control.push(attach_to(&theirs));
        }
        let (attached, control) = (median(attached), median(control));
        eprintln!("{}: {attached:?}, through cgroup.procs {control:?}", hierarchies.backend());
        if control < Duration::from_millis(4) {
            eprintln!("SKIP on {}: nobody waits here, so nothing is proved", hierarchies.backend());
            return;
        }
        assert!(attached * 2 < control, "{attached:?} is no less than {control:?}");
    });
}
