//! The audit of a run's own box, before the report may say that it is contained.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use rustbox_audit::{
    AuditOptions, BoxMarks, CgroupMark, Phase, PidNamespaceMark, ProcRoot, Proof, Verdict, audit_box,
    parse_cgroup_mounts,
};
use rustbox_core::{Finding, ProcessKey};

use crate::progress::Context;
use crate::sandbox::Facts;
use crate::teardown::chain;

/// What the audit is told of a box.
pub(crate) struct Closed<'a> {
    /// What was read back when it was made.
    pub(crate) facts: &'a Facts,
    /// The uid that it had.
    pub(crate) uid: u32,
    /// Its init's pidfd, when that was reaped.
    pub(crate) init: Option<OwnedFd>,
    /// Its cgroup directories.
    pub(crate) cgroups: Vec<PathBuf>,
    /// Whether all of them were removed.
    pub(crate) removed: bool,
}

/// What the audit came to.
#[derive(Debug, Default)]
pub(crate) struct Audited {
    pub(crate) proofs: Vec<String>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) doubts: Vec<String>,
}

impl Closed<'_> {
    fn marks(&self, context: &Context<'_>) -> BoxMarks {
        // What could not be removed is a cleanup that failed, and told as one. A process in it is a leak in any case.
        let phase = if self.removed { Phase::Closed } else { Phase::Killed };
        let mut marks = BoxMarks::new(context.id.clone(), phase);
        marks.pid_namespace = self.facts.pid_namespace.map(PidNamespaceMark::recorded);
        marks.supervisor_pid_namespace = self.facts.supervisor_pid_namespace;
        marks.audit_session = self.facts.audit_session;
        marks.uid = Some(self.uid);
        let starttime_ticks = context.host.starttime_ticks();
        marks.supervisor = Some(ProcessKey { pid: context.host.pid(), starttime_ticks });
        if self.removed {
            // Gone is gone, in whichever hierarchy: the host's mount table need not be read.
            marks.paths.clone_from(&self.cgroups);
        } else {
            let mounts =
                std::fs::read("/proc/self/mountinfo").map(|text| parse_cgroup_mounts(&text)).unwrap_or_default();
            marks.cgroups = self.cgroups.iter().filter_map(|path| CgroupMark::locate(path, &mounts)).collect();
        }
        marks
    }

    /// Audits the box. A box of which nothing was ever made needs none.
    pub(crate) fn audit(&self, context: &Context<'_>) -> Audited {
        let started = Instant::now();
        let marks = self.marks(context);
        // Without a PID namespace the init is pid 1 of nothing, and its end proves nothing.
        let init = self.init.as_ref().filter(|_| self.facts.pid_namespace.is_some()).map(AsFd::as_fd);
        let audit = audit_box(&marks, init, &mut ProcRoot::open_host, &AuditOptions::default());
        let audit_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        tracing::debug!(box_id = %context.id, audit_ns, "audited its own box");
        match audit {
            Ok(audit) => Audited {
                doubts: doubts(audit.verdict),
                proofs: audit.proofs.iter().map(proof_text).collect(),
                findings: audit.findings.into_iter().chain(by_name(context)).collect(),
            },
            Err(error) => Audited { doubts: vec![chain("the box could not be audited", &error)], ..Audited::default() },
        }
    }
}

/// A defect on purpose: whoever is called rustbox.
fn by_name(context: &Context<'_>) -> Vec<Finding> {
    if !rustbox_core::planted::is(rustbox_core::planted::Bug::AuditByName) {
        return Vec::new();
    }
    let named = |entry: std::fs::DirEntry| {
        let is_us = entry.file_name().to_str() == Some(&context.host.pid().to_string());
        let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        (comm.trim() == "rustbox" && !is_us)
            .then(|| Finding::new(rustbox_core::FindingKind::PostCleanupLeak, "something is called rustbox".to_owned()))
    };
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(named).collect()
}

fn doubts(verdict: Verdict) -> Vec<String> {
    match verdict {
        Verdict::Clean | Verdict::Findings => Vec::new(),
        Verdict::NoVerdict => vec!["the audit could not look everywhere".to_owned()],
    }
}

fn proof_text(proof: &Proof) -> String {
    match proof {
        Proof::InitEnded => {
            "the pidfd of the PID namespace's pid 1 is readable: the namespace is empty for ever".to_owned()
        }
        Proof::NamespaceHasNoInit => "the PID namespace says that it has no pid 1".to_owned(),
        Proof::InitReaped => "the init is reaped".to_owned(),
        Proof::CgroupGone(path) | Proof::PathGone(path) => format!("{path} is gone"),
        Proof::HostLookedAt => "every process of the host was looked at, twice".to_owned(),
    }
}
