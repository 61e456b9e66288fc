//! The audit at the end of a run: one box, from its marks, without looking at the host.
//!
//! Theory. Every process of a box is in its PID namespace or in one below it, from birth, and the kernel lets no task
//! change the PID namespace it is in (`unshare` and `setns` concern children, and `setns` only goes down:
//! `pidns_install` in kernel/pid_namespace.c). When pid 1 of a namespace ends, the kernel kills everything in it, forbids
//! new processes, and waits until all are *reaped*, before it makes the end of pid 1 known (`zap_pid_ns_processes`, called
//! from `exit_notify` ahead of `do_notify_pidfd`). So one readable pidfd proves that a whole tree is gone:
//!
//! | proof | excludes | does not exclude |
//! |---|---|---|
//! | the init's pidfd is readable | every process born in the box, whatever it forked, daemonised, renamed or was moved to; zombies too | a stranger that joined the cgroup from outside |
//! | the namespace has no pid 1 (`NS_GET_TGID_FROM_PIDNS`, Linux 6.11) | the same, by the namespace's own word | the same |
//! | the init is reaped | the init's own zombie | |
//! | the cgroup directory is gone | any living member, strangers that joined included: `rmdir` refuses a populated cgroup | who left the cgroup, or never was in it |
//!
//! Who carries the box's audit session id descends from the init, so is covered by the first line. What none of these
//! covers is a program that somebody *outside* ran at the payload's request: it never was a process of the box.
//!
//! Where a proof is missing, the host is looked at as in any audit.

use std::os::fd::BorrowedFd;

use rustbox_core::Finding;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::{AuditOptions, audit};
use crate::cgroup_dir::read_cgroup_directory;
use crate::describe::shown_path;
use crate::error::AuditError;
use crate::proc_root::ProcRoot;
use crate::reading::Unread;
use crate::registry::{BoxMarks, Registry};
use crate::report::Verdict;
use crate::sys;

/// A kernel fact that excludes that something of the box is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The pidfd of the namespace's pid 1 is readable: its namespace is empty for ever.
    InitEnded,
    /// The namespace itself says that it has no pid 1.
    NamespaceHasNoInit,
    /// The init is reaped as well.
    InitReaped,
    /// This cgroup directory is gone.
    CgroupGone(String),
    /// This directory or mount point is gone.
    PathGone(String),
    /// Every process of the host was looked at, twice.
    HostLookedAt,
}

/// What the audit of one box came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BoxAudit {
    /// Clean only with proofs; without them, what looking at the host came to.
    pub verdict: Verdict,
    /// The facts that were established.
    pub proofs: Vec<Proof>,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// Audits one box after its cleanup: its [`Phase`](crate::Phase) should be `Closed`, or `Killed` where the cleanup has failed.
///
/// `init` is a pidfd of the pid 1 of the box's PID namespace, opened while that process lived. With it, and with all of
/// the box's cgroups and paths gone, the answer costs a handful of system calls. Without it, or when anything is there,
/// the host is looked at through `root`.
///
/// # Errors
/// When the host has to be looked at and its processes cannot be listed.
pub fn audit_box(
    marks: &BoxMarks,
    init: Option<BorrowedFd<'_>>,
    root: &mut dyn FnMut() -> Result<ProcRoot, AuditError>,
    options: &AuditOptions,
) -> Result<BoxAudit, AuditError> {
    let mut proofs = Vec::new();
    let namespace_is_empty = prove_namespace(marks, init, &mut proofs);
    let nothing_is_left = prove_paths(marks, &mut proofs);
    if namespace_is_empty && nothing_is_left {
        return Ok(BoxAudit { verdict: Verdict::Clean, proofs, findings: Vec::new() });
    }
    let registry = Registry { boxes: vec![marks.clone()], ..Registry::default() };
    let report = audit(&root()?, &mut || registry.clone(), options)?;
    if report.verdict != Verdict::NoVerdict {
        proofs.push(Proof::HostLookedAt);
    }
    Ok(BoxAudit { verdict: report.verdict, proofs, findings: report.remaining.unwrap_or(report.findings) })
}

fn prove_namespace(marks: &BoxMarks, init: Option<BorrowedFd<'_>>, proofs: &mut Vec<Proof>) -> bool {
    let before = proofs.len();
    if let Some(pidfd) = init {
        let mut ready = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut ready, Some(&now)) == Ok(1) && ready.iter().all(|one| one.revents().contains(PollFlags::IN)) {
            proofs.push(Proof::InitEnded);
        }
    }
    if let Some(namespace) = marks.pid_namespace.as_ref().and_then(|mark| mark.descriptor()) {
        // Only a namespace below ours can be asked: of any other one, "no such process" means "not for you".
        let is_below = sys::ns_parent(namespace).is_ok();
        let answer = sys::tgid_from_pid_namespace(namespace, 1);
        if is_below && answer.is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH)) {
            proofs.push(Proof::NamespaceHasNoInit);
        }
    }
    let is_proved = proofs.len() > before;
    if is_proved
        && let Some(pidfd) = init
        && sys::pidfd_probe(pidfd).is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH))
    {
        proofs.push(Proof::InitReaped);
    }
    // An init that is dead and not reaped is a zombie of ours: then the host is looked at, and the zombie is named.
    let is_reaped = init.is_none() || proofs.contains(&Proof::InitReaped);
    is_proved && is_reaped
}

fn prove_paths(marks: &BoxMarks, proofs: &mut Vec<Proof>) -> bool {
    let mut all_gone = true;
    for mark in &marks.cgroups {
        match read_cgroup_directory(&mark.directory) {
            Err(Unread::Vanished) => proofs.push(Proof::CgroupGone(shown_path(&mark.directory))),
            Ok(_) | Err(Unread::Denied | Unread::Failed(_)) => all_gone = false,
        }
    }
    for path in &marks.paths {
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                proofs.push(Proof::PathGone(shown_path(path)))
            }
            Ok(_) | Err(_) => all_gone = false,
        }
    }
    all_gone
}
