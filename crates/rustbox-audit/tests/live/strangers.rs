//! Everybody who looks like a process of a box and is none: never accused, never signalled, and looked at in every test.

use std::collections::BTreeSet;

use rustbox_audit::{AuditReport, BoxMarks, Phase, PidNamespaceMark, ProcRoot, ProcSnapshot, Registry};
use rustbox_core::{Finding, FindingKind, ProcessKey};

use crate::stage::{Canary, Recycled, children_of, key_of, state_of, until};

/// A uid that nothing else on a test host has. The box that is tested has it as well.
pub(crate) const SHARED_UID: u32 = 64_998;

/// The strangers, and the dead boxes that have recorded two of them.
pub(crate) struct Strangers {
    canaries: Vec<Canary>,
    recycled: Recycled,
    ghosts: Vec<BoxMarks>,
}

impl Strangers {
    /// Starts them all.
    pub(crate) fn gather() -> Self {
        let (recycled, key) = recycled_in_the_same_tick();
        let older = ProcessKey { starttime_ticks: key.starttime_ticks - 7, ..key };
        // A box that died: its init's pid was given away, in one case within the same tick of the clock.
        let ghost = |number: u32, init| {
            let mut marks = BoxMarks::new(format!("ghost{number}").parse().expect("an id"), Phase::Abandoned);
            marks.pid_namespace = Some(PidNamespaceMark::recorded(4_026_000_000 + u64::from(number)));
            marks.audit_session = Some(4_000_000_000 + number);
            marks.init = Some(init);
            marks.supervisor = Some(older);
            marks
        };
        Self {
            canaries: vec![Canary::named(), Canary::contained(), Canary::with_uid(SHARED_UID)],
            recycled,
            ghosts: vec![ghost(1, older), ghost(2, key)],
        }
    }

    /// What is registered, with the dead boxes beside it.
    pub(crate) fn beside(&self, mut registry: Registry) -> Registry {
        registry.boxes.extend(self.ghosts.iter().cloned());
        registry
    }

    fn pids(&self) -> Vec<u32> {
        let of_canary = |canary: &Canary| {
            let mut pids = children_of(canary.pid());
            pids.push(canary.pid());
            pids
        };
        let mut pids: Vec<u32> = self.canaries.iter().flat_map(of_canary).collect();
        pids.push(self.recycled.pid());
        pids
    }

    /// All were looked at, none is accused or was acted on, and all live.
    pub(crate) fn assert_unharmed(&mut self, report: &AuditReport, root: &ProcRoot) {
        self.assert_scanned(root);
        self.assert_not_accused(report.findings.iter().chain(report.remaining.iter().flatten()));
        let acts = serde_json::to_string(&report.actions).expect("JSON");
        for pid in self.pids() {
            assert!(!acts.contains(&format!("\"pid\":{pid},")), "nobody acts on a stranger: {acts}");
        }
        self.assert_alive();
    }

    /// A look at this host meets every one of them.
    pub(crate) fn assert_scanned(&self, root: &ProcRoot) {
        let look = ProcSnapshot::take(root, &Registry::default()).expect("a look");
        let listed: BTreeSet<u32> = look.pids.into_iter().collect();
        assert!(self.pids().iter().all(|pid| listed.contains(pid)), "each was scanned: {:?}", self.pids());
    }

    /// Who shares a box's uid and has no other mark is told as a gap, which accuses nobody.
    pub(crate) fn assert_not_accused<'f>(&self, findings: impl Iterator<Item = &'f Finding>) {
        let pids = self.pids();
        let about = |finding: &&Finding| finding.process.is_some_and(|key| pids.contains(&key.pid));
        let accused = findings.filter(about).find(|finding| finding.kind != FindingKind::CoverageGap);
        assert_eq!(accused, None, "nobody accuses a stranger");
    }

    /// None was signalled.
    pub(crate) fn assert_alive(&mut self) {
        for canary in &mut self.canaries {
            assert!(canary.is_alive(), "{} lives", canary.what);
        }
        assert!(state_of(self.recycled.pid()).is_some_and(|state| state != b'Z'), "who has a recycled pid lives");
    }

    /// What is said of anybody but strangers, those of the tests that run beside this one among them.
    pub(crate) fn findings<'r>(&self, findings: &'r [Finding]) -> Vec<&'r Finding> {
        let strangers = self.pids();
        let is_stranger = |finding: &&Finding| {
            let is_theirs = finding.kind == FindingKind::CoverageGap && finding.uid == Some(SHARED_UID);
            is_theirs || finding.process.is_some_and(|key| strangers.contains(&key.pid))
        };
        findings.iter().filter(|finding| !is_stranger(finding)).collect()
    }
}

/// A process with the pid *and* the start time of one that is gone: not even both together are an identity.
fn recycled_in_the_same_tick() -> (Recycled, ProcessKey) {
    let first = std::process::Command::new("true").spawn().and_then(|mut child| {
        let pid = child.id();
        child.wait().map(|_| pid)
    });
    let pid = first.expect("run true");
    until("a pid given away within one tick", || {
        let before = Recycled::try_spawn(pid)?;
        let recorded = key_of(pid).expect("it is there");
        drop(before);
        let after = Recycled::try_spawn(pid)?;
        (key_of(pid) == Some(recorded)).then_some((after, recorded))
    })
}
