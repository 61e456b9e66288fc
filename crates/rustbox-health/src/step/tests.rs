use super::*;
use crate::state::Status;

fn at(seconds: u64) -> Moment {
    Moment {
        wall: format!("2026-01-01T00:{:02}:{:02}.000Z", seconds / 60, seconds % 60),
        boot_id: "b".into(),
        boottime_ms: seconds * 1000,
    }
}

/// A worker that events happen to, one a second unless told otherwise.
struct Worker {
    state: WorkerState,
    now: u64,
    effects: Vec<Effect>,
}

impl Worker {
    fn new() -> Self {
        Self { state: WorkerState::default(), now: 0, effects: Vec::new() }
    }

    fn then(&mut self, event: &Event) -> &mut Self {
        self.after(1, event)
    }

    fn after(&mut self, seconds: u64, event: &Event) -> &mut Self {
        self.now += seconds;
        let (state, effects) = step(&self.state, event, &at(self.now), "test");
        self.state = state;
        self.effects = effects;
        self
    }

    fn kind(&self) -> Option<ReasonKind> {
        self.state.quarantine.as_ref().map(|held| held.kind)
    }

    fn refusal(&self) -> Option<&Refusal> {
        self.effects.iter().find_map(|effect| if let Effect::Refuse(refusal) = effect { Some(refusal) } else { None })
    }

    fn entries(&self) -> Vec<&Entry> {
        self.effects
            .iter()
            .filter_map(|effect| if let Effect::Remember(entry) = effect { Some(entry) } else { None })
            .collect()
    }
}

fn seen(kind: FindingKind, key: &str, seen_for_ms: u64) -> Sighting {
    Sighting { kind, key: key.into(), what: format!("{key} is there"), seen_for_ms }
}

fn run(sightings: Vec<Sighting>, cleanup: Cleanup) -> Event {
    Event::RunEnded { sightings, cleanup }
}

fn good_run() -> Event {
    run(vec![], Cleanup::Done)
}

fn failed_cleanup() -> Event {
    run(vec![], Cleanup::Failed { error: "cgroup_removal_failed: /sys/fs/cgroup/rustbox-a: busy".into() })
}

fn orphan(key: &str) -> Event {
    run(vec![seen(FindingKind::OrphanDetected, key, 0)], Cleanup::Done)
}

fn audit(sightings: Vec<Sighting>) -> Event {
    Event::AuditEnded { sightings }
}

fn unquarantine(reason: &str, clean: Cleanliness, force: Force) -> Event {
    Event::Unquarantine { reason: reason.into(), clean, force }
}

fn recovered() -> Event {
    Event::Recovered { clean: Cleanliness::Clean, shortage: None }
}

// D21: what each kind of finding makes of a healthy worker, at a run's end and by an audit.
#[test]
fn each_kind_of_finding_has_its_consequence() {
    use FindingKind::*;
    let quarantined = (Status::Quarantined, Some(ReasonKind::OrphanProcessDetected));
    for (kind, seen_for_ms, by_run, by_audit) in [
        (OrphanDetected, 0, quarantined, quarantined),
        (TransientEscape, 0, quarantined, quarantined),
        (PostCleanupLeak, 0, quarantined, quarantined),
        (ZombieDetected, 2000, quarantined, quarantined),
        (ZombieDetected, 1999, (Status::Unhealthy, None), (Status::Unhealthy, None)),
        (StaleState, 0, (Status::Healthy, None), (Status::Unhealthy, None)),
        (CoverageGap, 0, (Status::Healthy, None), (Status::Healthy, None)),
    ] {
        let sighting = seen(kind, "k", seen_for_ms);
        for (event, expected) in
            [(run(vec![sighting.clone()], Cleanup::Done), by_run), (audit(vec![sighting.clone()]), by_audit)]
        {
            let mut worker = Worker::new();
            worker.then(&event);
            assert_eq!((worker.state.status(), worker.kind()), expected, "{event:?}");
        }
    }
}

#[test]
fn a_zombie_that_is_still_there_two_seconds_later_quarantines() {
    let zombie = || audit(vec![seen(FindingKind::ZombieDetected, "z", 0)]);
    let mut worker = Worker::new();
    worker.then(&zombie()).after(1, &zombie());
    assert_eq!(worker.state.status(), Status::Unhealthy);
    worker.after(1, &zombie());
    assert_eq!(worker.kind(), Some(ReasonKind::OrphanProcessDetected));

    let mut reaped = Worker::new();
    reaped.then(&zombie()).then(&audit(vec![]));
    assert_eq!(reaped.state.status(), Status::Healthy);
    reaped.after(5, &zombie());
    assert_eq!(reaped.state.status(), Status::Unhealthy, "an earlier zombie of that key does not count");
}

#[test]
fn a_gap_is_a_complaint_only_when_it_lasts_and_goes_when_all_is_seen() {
    let gap = || audit(vec![seen(FindingKind::CoverageGap, "g", 0)]);
    let mut worker = Worker::new();
    worker.then(&gap()).after(59, &gap());
    assert_eq!(worker.state.status(), Status::Healthy);
    worker.after(1, &gap());
    assert_eq!(worker.state.status(), Status::Unhealthy);
    assert!(worker.state.last_clean_audit.is_none());
    worker.then(&audit(vec![]));
    assert_eq!(worker.state.status(), Status::Healthy);
    assert!(worker.state.last_clean_audit.is_some());
    worker.after(600, &gap());
    assert_eq!(worker.state.status(), Status::Healthy, "it begins anew");
}

#[test]
fn a_suspicion_of_an_earlier_boot_begins_anew() {
    let zombie = run(vec![seen(FindingKind::ZombieDetected, "z", 0)], Cleanup::Done);
    let mut worker = Worker::new();
    worker.then(&zombie);
    let later = Moment { boot_id: "c".into(), ..at(500) };
    let (state, _) = step(&worker.state, &zombie, &later, "test");
    assert_eq!(state.status(), Status::Unhealthy);
}

// D14, Q07.
#[test]
fn only_the_third_cleanup_failure_in_a_row_quarantines() {
    let mut worker = Worker::new();
    worker.then(&failed_cleanup()).then(&failed_cleanup());
    assert_eq!((worker.state.status(), worker.state.failed_cleanup_count), (Status::Unhealthy, 2));
    worker.then(&run(vec![], Cleanup::Unknown));
    assert_eq!(worker.state.failed_cleanup_count, 2, "not known is neither");
    worker.then(&good_run());
    assert_eq!((worker.state.status(), worker.state.failed_cleanup_count), (Status::Healthy, 0));
    worker.then(&failed_cleanup()).then(&failed_cleanup()).then(&failed_cleanup());
    assert_eq!(worker.kind(), Some(ReasonKind::CleanupFailure));
    assert!(worker.state.last_cleanup_error.as_deref().unwrap().starts_with("cgroup_removal_failed"));
    worker.then(&failed_cleanup());
    assert!(worker.entries().is_empty(), "a quarantine begins once");
}

// S69, D21.
#[test]
fn the_second_violation_since_the_last_review_escalates() {
    let mut worker = Worker::new();
    worker.then(&orphan("a"));
    assert_eq!((worker.state.recurrence, worker.state.escalate()), (1, false));
    worker.then(&orphan("a"));
    assert_eq!(worker.state.recurrence, 1, "a second look at the same one");
    worker.then(&orphan("b"));
    assert_eq!((worker.state.recurrence, worker.state.escalate()), (2, true));
    assert_eq!(worker.entries()[0].what, What::Violation);
    assert!(worker.entries()[0].escalate);
    worker.then(&unquarantine("looked into it", Cleanliness::Clean, Force::No));
    assert_eq!((worker.state.recurrence, worker.state.escalate()), (0, false));
    worker.then(&orphan("c"));
    assert_eq!(worker.state.recurrence, 1);
}

// S50: a recovery lifts what it can prove away, and nothing that a person has to look into.
#[test]
fn a_recovery_lifts_only_what_needs_no_review() {
    for kind in ReasonKind::ALL {
        let mut worker = Worker::new();
        worker.then(&Event::Quarantine { reason: kind.as_str().into() });
        assert_eq!(worker.kind(), Some(kind));
        worker.then(&Event::Recovered { clean: Cleanliness::Unknown("/proc".into()), shortage: None });
        assert_eq!(worker.kind(), Some(kind), "not known is not clean");
        worker.then(&Event::Recovered { clean: Cleanliness::Dirty("cgroup x".into()), shortage: None });
        assert_eq!((worker.kind(), worker.state.failed_recovery_count), (Some(kind), 2));
        worker.then(&recovered());
        assert_eq!(worker.kind().is_some(), kind.needs_review(), "{kind:?}");
        assert_eq!(worker.state.failed_recovery_count, 0);
        if !kind.needs_review() {
            assert_eq!(worker.entries()[0].time_to_recovery_ms, Some(3000));
        }
    }
    assert!(ReasonKind::OrphanProcessDetected.needs_review());
}

#[test]
fn a_violation_outweighs_a_quarantine_that_a_recovery_could_lift() {
    let mut worker = Worker::new();
    worker
        .then(&failed_cleanup())
        .then(&failed_cleanup())
        .then(&failed_cleanup())
        .then(&orphan("a"))
        .then(&recovered());
    assert_eq!(worker.kind(), Some(ReasonKind::OrphanProcessDetected));
    worker.then(&Event::Quarantine { reason: "cleanup_failure".into() }).then(&recovered());
    assert_eq!(worker.kind(), Some(ReasonKind::OrphanProcessDetected), "words do not make it easier to lift");
    let held = worker.state.quarantine.as_ref().unwrap();
    assert_eq!((held.reason.as_str(), held.detail.as_str()), ("cleanup_failure", "orphan_detected: a is there"));
}

#[test]
fn putting_back_needs_a_reason_and_a_clean_host_or_force() {
    use Cleanliness::*;
    let dirty = || Dirty("cgroup x".into());
    let unknown = || Unknown("/proc".into());
    for (reason, clean, force, lifted, forced) in [
        ("done", Clean, Force::No, true, false),
        ("", Clean, Force::No, false, false),
        (" ", Clean, Force::Yes, false, false),
        ("done", dirty(), Force::No, false, false),
        ("done", unknown(), Force::No, false, false),
        ("done", dirty(), Force::Yes, true, true),
        ("done", unknown(), Force::Yes, true, true),
        ("done", Clean, Force::Yes, true, false),
    ] {
        let mut worker = Worker::new();
        worker.then(&orphan("a")).then(&unquarantine(reason, clean.clone(), force));
        assert_eq!(worker.kind().is_none(), lifted, "{reason:?} {clean:?} {force:?}");
        assert_eq!(worker.refusal().is_none(), lifted);
        if lifted {
            assert_eq!((worker.entries()[0].what, worker.entries()[0].forced), (What::Unquarantined, Some(forced)));
        }
    }
    let mut healthy = Worker::new();
    healthy.then(&unquarantine("done", Clean, Force::Yes));
    assert_eq!(healthy.refusal(), Some(&Refusal::NotQuarantined));
}

// S43, S44.
#[test]
fn an_operators_words_are_kept_as_they_were_said() {
    for (words, kind) in [
        ("maintenance on \"rack 7\"", ReasonKind::ManualQuarantine),
        ("orphan_process_detected", ReasonKind::OrphanProcessDetected),
    ] {
        let mut worker = Worker::new();
        worker.then(&Event::Quarantine { reason: words.into() });
        let held = worker.state.quarantine.as_ref().unwrap();
        assert_eq!((held.reason.as_str(), held.kind), (words, kind));
    }
}

#[test]
fn a_stop_refuses_work_without_being_a_quarantine() {
    let mut worker = Worker::new();
    worker.then(&Event::Stopped);
    assert_eq!((worker.state.status(), worker.state.can_accept_submissions()), (Status::Healthy, false));
    worker.then(&Event::Started);
    assert!(worker.state.can_accept_submissions());
}

#[test]
fn a_baseline_that_cannot_be_restored_and_a_damaged_state_quarantine_at_once() {
    let mut worker = Worker::new();
    worker.then(&Event::Recovered { clean: Cleanliness::Unknown("/proc".into()), shortage: None });
    assert_eq!(worker.kind(), None, "what is not known is no proof");
    worker.then(&Event::Recovered { clean: Cleanliness::Dirty("a mount".into()), shortage: None });
    assert_eq!(worker.kind(), Some(ReasonKind::BaselineEquivalenceFailed));
    worker.then(&Event::StateDamaged { detail: "torn".into() });
    assert_eq!(worker.kind(), Some(ReasonKind::StateCorrupted));
}

// Q07.
#[test]
fn a_shortage_quarantines_until_a_recovery_sees_that_it_is_over() {
    let mut worker = Worker::new();
    worker.then(&Event::Exhausted { detail: "3 inodes".into() });
    assert_eq!(worker.kind(), Some(ReasonKind::ResourceExhaustion));
    worker.then(&Event::Recovered { clean: Cleanliness::Clean, shortage: Some("3 inodes".into()) });
    assert_eq!(worker.kind(), Some(ReasonKind::ResourceExhaustion), "nothing is left, and there is still no room");
    worker.then(&recovered());
    assert_eq!(worker.kind(), None);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut worker = Worker::new();
    for number in 0..2 * COUNTED_MAX {
        worker.then(&orphan(&number.to_string()));
    }
    assert_eq!(worker.state.counted.len(), COUNTED_MAX);
    assert_eq!(worker.state.complaints.len(), 0);
}
