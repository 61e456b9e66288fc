//! From findings to actions. Pure.

use rustbox_core::{BoxId, Finding, FindingKind, ProcessKey, Strength};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something to do about a finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// End a process, and whatever else of its box is found where it must not be.
    End {
        /// Whose.
        box_id: BoxId,
        /// Which.
        process: ProcessKey,
    },
    /// Remove an empty cgroup directory of a box that nobody owns.
    RemoveCgroup {
        /// Whose.
        box_id: BoxId,
        /// Where.
        directory: String,
    },
}

/// Decides what to do. A process is ended for a primary mark only, and never pid 1; whatever else there is to refuse is
/// refused again when the deed is done, by what is true then.
///
/// Nothing is done about a zombie: it has ended, and only its parent can reap it. The finding names that parent.
/// Nothing is done about a transient escape: it is over. Nothing is done about a gap: it accuses nobody.
#[must_use]
pub fn decide(findings: &[Finding]) -> Vec<Action> {
    let mut actions: Vec<Action> = findings.iter().filter_map(decide_one).collect();
    actions.sort();
    actions.dedup();
    actions
}

fn decide_one(finding: &Finding) -> Option<Action> {
    let box_id = finding.box_id.clone()?;
    match (finding.kind, finding.process, &finding.path) {
        (FindingKind::OrphanDetected | FindingKind::PostCleanupLeak, Some(process), _) => {
            let is_ours = finding.marks.iter().any(|mark| mark.strength == Strength::Primary);
            (is_ours && process.pid > 1).then_some(Action::End { box_id, process })
        }
        (FindingKind::StaleState | FindingKind::PostCleanupLeak, None, Some(path)) => {
            let directory = finding.expected_cgroups.iter().find(|directory| *directory == path)?.clone();
            Some(Action::RemoveCgroup { box_id, directory })
        }
        (
            FindingKind::OrphanDetected
            | FindingKind::PostCleanupLeak
            | FindingKind::StaleState
            | FindingKind::TransientEscape
            | FindingKind::ZombieDetected
            | FindingKind::CoverageGap,
            ..,
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustbox_core::{Mark, MarkKind};

    fn finding(kind: FindingKind, pid: u32, strength: Strength) -> Finding {
        let mut finding = Finding::new(kind, String::new());
        finding.box_id = "a".parse().ok();
        finding.process = Some(ProcessKey { pid, starttime_ticks: 7 });
        finding.marks = vec![Mark { mark: MarkKind::Uid, strength, value: String::new() }];
        finding
    }

    #[test]
    fn only_a_primary_mark_ends_a_process_and_pid_1_never_ends() {
        use FindingKind::{CoverageGap, OrphanDetected, PostCleanupLeak, TransientEscape, ZombieDetected};
        for kind in [OrphanDetected, PostCleanupLeak] {
            assert_eq!(decide(&[finding(kind, 9, Strength::Primary)]).len(), 1);
            assert_eq!(decide(&[finding(kind, 9, Strength::Secondary)]), []);
            assert_eq!(decide(&[finding(kind, 1, Strength::Primary)]), []);
            assert_eq!(decide(&[Finding { box_id: None, ..finding(kind, 9, Strength::Primary) }]), []);
        }
        for kind in [TransientEscape, ZombieDetected, CoverageGap] {
            assert_eq!(decide(&[finding(kind, 9, Strength::Primary)]), []);
        }
    }

    #[test]
    fn only_the_cgroups_of_a_box_are_removed() {
        let mut stale = Finding::new(FindingKind::StaleState, String::new());
        stale.box_id = "a".parse().ok();
        stale.path = Some("/sys/fs/cgroup/rustbox-a".into());
        assert_eq!(decide(std::slice::from_ref(&stale)), []);
        stale.expected_cgroups = vec!["/sys/fs/cgroup/rustbox-a".into()];
        assert_eq!(decide(&[stale]).len(), 1);
    }
}
