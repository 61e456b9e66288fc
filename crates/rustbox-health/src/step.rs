//! What a worker becomes by what happens to it. Pure: no clock, no file.

use std::time::Duration;

use rustbox_core::FindingKind;

use crate::clean::Cleanliness;
use crate::event::{Cleanup, Count, Effect, Event, Force, RecoveryOutcome, Refusal, Sighting};
use crate::history::{Entry, What};
use crate::moment::Moment;
use crate::state::{Complaint, ComplaintKind, Quarantine, ReasonKind, Stop, Suspicion, WorkerState};

/// This many cleanups that fail one after the other quarantine the worker.
const CLEANUP_FAILURES_MAX: u32 = 3;
/// A zombie may wait this long to be reaped: the promise of the runbook.
const ZOMBIE_LIMIT: Duration = Duration::from_secs(2);
/// A gap lasts when an audit sees it this long after another one did.
const GAP_LASTS: Duration = Duration::from_secs(60);
/// Violations that are remembered by their keys. A host with more than these since its last review has other worries.
const COUNTED_MAX: usize = 256;
/// Key of the suspicion that something cannot be looked at.
const GAP_KEY: &str = "coverage_gap";

/// The state after an event, and what follows from it. The generation is raised by whoever writes the state.
#[must_use]
pub fn step(state: &WorkerState, event: &Event, now: &Moment, by: &str) -> (WorkerState, Vec<Effect>) {
    let mut step = Step { state: state.clone(), effects: Vec::new(), now, by };
    match event {
        Event::RunEnded { sightings, cleanup } => {
            step.violations(sightings);
            step.cleanup(cleanup);
        }
        Event::AuditEnded { sightings } => step.audit(sightings),
        Event::Recovered { clean, shortage } => step.recovered(clean, shortage.as_deref()),
        Event::Exhausted { detail } => {
            step.effects.push(Effect::Warn { event: "resource_exhaustion", detail: detail.clone() });
            step.quarantine(ReasonKind::ResourceExhaustion, None, detail);
        }
        Event::Quarantine { reason } => {
            step.quarantine(ReasonKind::of_words(reason), Some(reason), "an operator said so");
        }
        Event::Unquarantine { reason, clean, force } => step.unquarantine(reason, clean, *force),
        Event::Stopped => step.state.stop = Some(Stop { since: now.clone(), by: by.to_owned() }),
        Event::Started => step.state.stop = None,
        Event::StateDamaged { detail } => {
            step.quarantine(ReasonKind::StateCorrupted, None, detail);
        }
    }
    (step.state, step.effects)
}

struct Step<'a> {
    state: WorkerState,
    effects: Vec<Effect>,
    now: &'a Moment,
    by: &'a str,
}

impl Step<'_> {
    fn audit(&mut self, sightings: &[Sighting]) {
        let seen = |kind| sightings.iter().find(|sighting| sighting.kind == kind);
        self.state.suspicions.retain(|suspicion| {
            suspicion.key == GAP_KEY || sightings.iter().any(|sighting| sighting.key == suspicion.key)
        });
        self.violations(sightings);
        if seen(FindingKind::ZombieDetected).is_none() {
            self.withdraw(ComplaintKind::ZombieSuspected);
        }
        match seen(FindingKind::StaleState) {
            Some(sighting) => self.complain(ComplaintKind::StaleState, &sighting.what),
            None => self.withdraw(ComplaintKind::StaleState),
        }
        match seen(FindingKind::CoverageGap) {
            Some(sighting) => {
                self.effects.push(Effect::Count(Count::CoverageGap));
                if self.suspected_for(GAP_KEY) >= GAP_LASTS {
                    self.complain(ComplaintKind::CoverageGap, &sighting.what);
                }
            }
            None => {
                self.state.suspicions.retain(|suspicion| suspicion.key != GAP_KEY);
                self.withdraw(ComplaintKind::CoverageGap);
            }
        }
        if sightings.is_empty() {
            self.state.last_clean_audit = Some(self.now.clone());
        }
    }

    /// Counts what is new among the violations, and quarantines.
    fn violations(&mut self, sightings: &[Sighting]) {
        let mut first = None;
        for sighting in sightings.iter().filter(|sighting| sighting.kind.is_violation()) {
            if sighting.kind == FindingKind::ZombieDetected && !self.is_old(sighting) {
                self.complain(ComplaintKind::ZombieSuspected, &sighting.what);
                continue;
            }
            if self.state.counted.contains(&sighting.key) {
                continue;
            }
            self.effects.push(Effect::Count(Count::Violation(sighting.kind)));
            self.state.counted.push(sighting.key.clone());
            first.get_or_insert(sighting);
        }
        let surplus = self.state.counted.len().saturating_sub(COUNTED_MAX);
        self.state.counted.drain(..surplus);
        if let Some(sighting) = first {
            self.state.recurrence = self.state.recurrence.saturating_add(1);
            let detail = format!("{}: {}", sighting.kind, sighting.what);
            self.effects.push(Effect::Warn { event: "containment_violation", detail: detail.clone() });
            if !self.quarantine(ReasonKind::OrphanProcessDetected, None, &detail) {
                self.remember(What::Violation, ReasonKind::OrphanProcessDetected.as_str(), &detail);
            }
        }
    }

    /// Whether a zombie has been there for as long as nobody may need to reap it.
    fn is_old(&mut self, sighting: &Sighting) -> bool {
        let suspected = self.suspected_for(&sighting.key);
        Duration::from_millis(sighting.seen_for_ms).max(suspected) >= ZOMBIE_LIMIT
    }

    /// How long something has been suspected; from now on it is.
    fn suspected_for(&mut self, key: &str) -> Duration {
        let known = self.state.suspicions.iter().find(|suspicion| suspicion.key == key);
        if let Some(duration) = known.and_then(|suspicion| self.now.since(&suspicion.since)) {
            return duration;
        }
        // Unknown, or of an earlier boot.
        self.state.suspicions.retain(|suspicion| suspicion.key != key);
        self.state.suspicions.push(Suspicion { key: key.to_owned(), since: self.now.clone() });
        Duration::ZERO
    }

    fn cleanup(&mut self, cleanup: &Cleanup) {
        match cleanup {
            Cleanup::Unknown => {}
            Cleanup::Done => {
                self.state.failed_cleanup_count = 0;
                self.withdraw(ComplaintKind::CleanupFailure);
            }
            Cleanup::Failed { error } => {
                self.state.failed_cleanup_count = self.state.failed_cleanup_count.saturating_add(1);
                self.state.last_cleanup_error = Some(error.clone());
                self.effects.push(Effect::Warn { event: "cleanup_failure", detail: error.clone() });
                self.complain(ComplaintKind::CleanupFailure, error);
                if self.state.failed_cleanup_count >= CLEANUP_FAILURES_MAX {
                    let count = self.state.failed_cleanup_count;
                    let detail = format!("{count} cleanups in a row failed; the last one: {error}");
                    self.quarantine(ReasonKind::CleanupFailure, None, &detail);
                }
            }
        }
    }

    fn recovered(&mut self, clean: &Cleanliness, shortage: Option<&str>) {
        if let Cleanliness::Dirty(what) | Cleanliness::Unknown(what) = clean {
            self.state.failed_recovery_count = self.state.failed_recovery_count.saturating_add(1);
            self.effects.push(Effect::Count(Count::Recovery(RecoveryOutcome::Failure)));
            self.complain(ComplaintKind::StaleState, what);
            let reason = self.state.quarantine.as_ref().map_or(String::new(), |held| held.reason.clone());
            self.remember(What::RecoveryFailed, &reason, what);
            // Everything was tried, and the host is still not as it was before the boxes. What is only not known is
            // no proof of that.
            if matches!(clean, Cleanliness::Dirty(_)) {
                self.effects.push(Effect::Warn { event: "baseline_equivalence_failed", detail: what.clone() });
                self.quarantine(ReasonKind::BaselineEquivalenceFailed, None, what);
            }
            return;
        }
        self.effects.push(Effect::Count(Count::Recovery(RecoveryOutcome::Success)));
        self.state.failed_recovery_count = 0;
        self.state.failed_cleanup_count = 0;
        for kind in [ComplaintKind::StaleState, ComplaintKind::CleanupFailure, ComplaintKind::ZombieSuspected] {
            self.withdraw(kind);
        }
        let is_over = |kind| kind != ReasonKind::ResourceExhaustion || shortage.is_none();
        let held = self.state.quarantine.as_ref();
        let liftable = held.filter(|held| !held.kind.needs_review() && is_over(held.kind));
        if let Some(reason) = liftable.map(|held| held.reason.clone()) {
            self.remember(What::Recovered, &reason, "nothing is left");
            self.state.quarantine = None;
        }
    }

    fn unquarantine(&mut self, reason: &str, clean: &Cleanliness, force: Force) {
        let refusal = match (&self.state.quarantine, clean, force) {
            (None, _, _) => Some(Refusal::NotQuarantined),
            _ if reason.trim().is_empty() => Some(Refusal::NoReason),
            (_, Cleanliness::Dirty(what), Force::No) => Some(Refusal::NotClean(what.clone())),
            (_, Cleanliness::Unknown(what), Force::No) => Some(Refusal::Unknown(what.clone())),
            (Some(_), Cleanliness::Clean, _) | (Some(_), _, Force::Yes) => None,
        };
        if let Some(refusal) = refusal {
            self.effects.push(Effect::Refuse(refusal));
            return;
        }
        let seen = match clean {
            Cleanliness::Clean => "the host was clean".to_owned(),
            Cleanliness::Dirty(what) => format!("the host was not clean: {what}"),
            Cleanliness::Unknown(what) => format!("it was not known whether the host was clean: {what}"),
        };
        // Forced is what needed force, not what was typed.
        let forced = *clean != Cleanliness::Clean;
        self.remember(What::Unquarantined, reason, &seen);
        if let Some(Effect::Remember(entry)) = self.effects.last_mut() {
            entry.forced = Some(forced);
        }
        self.state.quarantine = None;
        self.state.recurrence = 0;
        self.state.counted.clear();
        self.state.failed_cleanup_count = 0;
        if *clean == Cleanliness::Clean {
            self.withdraw(ComplaintKind::CleanupFailure);
        }
    }

    /// Quarantines; false when a quarantine of the same weight is there already. One that a recovery could lift gives
    /// way to one that needs a person.
    fn quarantine(&mut self, kind: ReasonKind, words: Option<&str>, detail: &str) -> bool {
        let held = self.state.quarantine.as_ref();
        if held.is_some_and(|held| held.kind.needs_review() || !kind.needs_review()) && words.is_none() {
            return false;
        }
        // An operator's words never make a quarantine easier to lift.
        let kind = match held {
            Some(held) if held.kind.needs_review() => held.kind,
            Some(_) | None => kind,
        };
        let since = held.map_or_else(|| self.now.clone(), |held| held.since.clone());
        // Nor do they take away what was seen before.
        let detail = held.filter(|_| words.is_some()).map_or(detail, |held| held.detail.as_str());
        let detail = detail.to_owned();
        let reason = words.unwrap_or(kind.as_str()).to_owned();
        self.effects.push(Effect::Count(Count::Quarantined(kind)));
        self.effects.push(Effect::Warn { event: "worker_quarantined", detail: format!("{reason}: {detail}") });
        let by = self.by.to_owned();
        self.state.quarantine = Some(Quarantine { kind, reason: reason.clone(), detail: detail.clone(), since, by });
        self.remember(What::Quarantined, &reason, &detail);
        true
    }

    fn remember(&mut self, what: What, reason: &str, detail: &str) {
        let since = self.state.quarantine.as_ref().map(|held| held.since.clone());
        let is_over = matches!(what, What::Recovered | What::Unquarantined);
        let took = since.as_ref().filter(|_| is_over).and_then(|since| self.now.shown_since(since));
        self.effects.push(Effect::Remember(Entry {
            schema: Entry::SCHEMA.to_owned(),
            generation: 0,
            at: self.now.clone(),
            what,
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            by: self.by.to_owned(),
            quarantined_since: since,
            time_to_recovery_ms: took.and_then(|took| u64::try_from(took.as_millis()).ok()),
            forced: None,
            recurrence: self.state.recurrence,
            escalate: self.state.escalate(),
        }));
    }

    fn complain(&mut self, kind: ComplaintKind, detail: &str) {
        match self.state.complaints.iter_mut().find(|complaint| complaint.kind == kind) {
            Some(complaint) => detail.clone_into(&mut complaint.detail),
            None => {
                self.state.complaints.push(Complaint { kind, detail: detail.to_owned(), since: self.now.clone() });
            }
        }
    }

    fn withdraw(&mut self, kind: ComplaintKind) {
        self.state.complaints.retain(|complaint| complaint.kind != kind);
    }
}

#[cfg(test)]
mod tests;
