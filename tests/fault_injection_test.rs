//! Every system call of the supervisor fails once: it refuses or copes, never hangs, never runs a payload with
//! a barrier missing, never leaves anything, and never calls what failed a success.
//!
//! S09, QR04: the injected errors are those that the kernel documents for each call.

use std::collections::BTreeMap;

use rustbox_tests::{Canary, InjectTrial, Lab, Progress, inject_trial, wait_clean};

/// Numbers of x86-64 system calls, with an error that each can return. What is not listed is EPERM.
const ERRORS: &[(u64, i32)] = &[
    (0, EIO),      // read
    (1, ENOSPC),   // write
    (2, EMFILE),   // open
    (7, ENOMEM),   // poll
    (9, ENOMEM),   // mmap
    (22, EMFILE),  // pipe
    (32, EMFILE),  // dup
    (33, EMFILE),  // dup2
    (46, ENOBUFS), // sendmsg
    (47, ENOMEM),  // recvmsg
    (53, EMFILE),  // socketpair
    (56, EAGAIN),  // clone
    (73, ENOLCK),  // flock
    (84, EBUSY),   // rmdir
    (247, ECHILD), // waitid
    (257, EMFILE), // openat
    (258, EACCES), // mkdirat
    (263, EBUSY),  // unlinkat
    (264, EIO),    // renameat
    (271, ENOMEM), // ppoll
    (283, EMFILE), // timerfd_create
    (289, EMFILE), // signalfd4
    (293, EMFILE), // pipe2
    (318, EAGAIN), // getrandom
    (424, ESRCH),  // pidfd_send_signal
    (434, EMFILE), // pidfd_open
    (435, EAGAIN), // clone3
    (437, EMFILE), // openat2
];

const EIO: i32 = 5;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const ESRCH: i32 = 3;
const ECHILD: i32 = 10;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const ENOLCK: i32 = 37;
const ENOBUFS: i32 = 105;
const EPERM: i32 = 1;

/// Calls that are not failed: those that cannot fail (exit, rt_sigreturn, getpid, getuid, uname, prlimit64 of
/// oneself, close, which frees the descriptor even when it returns an error), the exec itself, and those whose
/// failure the standard library turns into an abort before or below our code (mmap, brk, mprotect, munmap,
/// arch_prctl, rseq, signal handlers of its runtime).
const LEFT_ALONE: &[u64] =
    &[3, 9, 10, 11, 12, 13, 14, 15, 39, 59, 60, 63, 102, 104, 107, 108, 131, 158, 218, 231, 273, 302, 334];

/// waitid: a zombie that was not reaped stays one, and the report calls it by its name.
const WAITID: u64 = 247;

fn error_for(call: u64) -> Option<i32> {
    if LEFT_ALONE.contains(&call) {
        return None;
    }
    Some(ERRORS.iter().find(|(number, _)| *number == call).map_or(EPERM, |(_, errno)| *errno))
}

#[test]
fn every_system_call_of_the_supervisor_fails_once() {
    let lab = Lab::open("inject");
    let canary = Canary::start("inject");
    let (mut by_stage, mut by_end) = (BTreeMap::<Progress, usize>::new(), BTreeMap::<String, usize>::new());
    let (mut wrong, mut kept) = (Vec::new(), 0);
    for boundary in 0.. {
        assert!(boundary < 20_000, "the supervisor never ends");
        // Each trial is a new worker: three cleanups that fail in a row quarantine one, which then refuses all that follows.
        let _absent = std::fs::remove_dir_all(lab.state_dir().join("health"));
        let command = lab.a_box().attack("contain_credentials", &[]);
        let box_id = command.box_id().to_owned();
        let failed = match inject_trial(&command, &lab.state_dir(), boundary, error_for) {
            InjectTrial::Ended => break,
            InjectTrial::LeftAlone => {
                let _clean = wait_clean(&box_id, &lab.state_dir());
                continue;
            }
            InjectTrial::Failed(failed) => failed,
        };
        *by_stage.entry(failed.progress).or_insert(0) += 1;
        let (said, errors) = command.collect();
        let what = format!("system call {boundary} (number {}) at {:?}", failed.call, failed.progress);
        let code = failed.status.map(|s| s.code());
        *by_end.entry(format!("{code:?}")).or_insert(0) += 1;
        match code {
            None => wrong.push(format!("{what}: hangs: {errors}")),
            Some(Some(0)) if !said.contains("contain_credentials: contained") => {
                wrong.push(format!("{what}: exit 0, and the payload says {said:?}"));
            }
            Some(Some(0 | 122 | 125)) => {}
            Some(Some(121)) if failed.call == WAITID => {}
            other => wrong.push(format!("{what}: ended with {other:?}: {errors}")),
        }
        // Whatever it exits with: a payload that ran had every barrier.
        if said.contains("escaped") || said.contains("not in a box") {
            wrong.push(format!("{what}: fail-open: {said}"));
        }
        let left = wait_clean(&box_id, &lab.state_dir());
        if left.is_empty() {
            continue;
        }
        // What could not be removed is kept, named, and no success; and it is nothing that runs.
        let directory = left.iter().all(|l| l.starts_with("directory "));
        let named = errors.contains("rustbox cleanup") && code != Some(Some(0));
        let cleaned = lab.rustbox().args(["cleanup", &box_id]).status().is_ok_and(|s| s.success());
        let after = wait_clean(&box_id, &lab.state_dir());
        if directory && named && cleaned && after.is_empty() {
            kept += 1;
        } else {
            wrong.push(format!("{what}: left {left:?}; after cleanup ({cleaned}): {after:?}; {errors}"));
        }
    }
    canary.assert_unharmed();
    let total: usize = by_stage.values().sum();
    eprintln!(
        "{total} injected errors; by stage {by_stage:?}; by exit {by_end:?}; {kept} kept and named; {} wrong",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(total > 100, "only {total} calls were reached");
}
