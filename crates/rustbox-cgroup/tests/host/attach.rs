//! What a process waits for that attaches itself to cgroup v1.

use std::fmt::Write as _;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustbox_core::CgroupBackend;

use crate::common::{Box, limits, on_each_backend};

/// So long that nobody's grace period is still on its way when the next process attaches itself.
const PAUSE: Duration = Duration::from_millis(80);
const ROUNDS: usize = 9;

/// Starts a shell that writes a 0 to each file, as an init does, and tells how often it was put to sleep meanwhile.
fn sleeps_while_attaching_to(files: &[PathBuf]) -> u64 {
    std::thread::park_timeout(PAUSE);
    let mut script = "look() { while read name count; do \
                      [ $name != voluntary_ctxt_switches: ] || now=$count; done </proc/$$/status; }; look; before=$now\n"
        .to_owned();
    for file in files {
        writeln!(script, "echo 0 >{} || exit 1", file.display()).unwrap();
    }
    script.push_str("look; echo $((now - before))");
    let output = Command::new("/bin/sh").args(["-c", &script]).output().expect("a shell");
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

fn median(mut counts: Vec<u64>) -> u64 {
    counts.sort_unstable();
    counts[counts.len() / 2]
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
            attached.push(sleeps_while_attaching_to(&ours));
            control.push(sleeps_while_attaching_to(&theirs));
        }
        let (attached, control) = (median(attached), median(control));
        eprintln!("{}: {attached} sleeps, through cgroup.procs {control}", hierarchies.backend());
        if control == 0 {
            eprintln!("SKIP on {}: nobody waits here, so nothing is proved", hierarchies.backend());
        }
        assert_eq!(attached, 0, "whoever attaches through cgroup.procs sleeps {control} times");
    });
}
