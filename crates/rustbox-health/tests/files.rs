//! The files of a worker's state, damaged in every way, and written by many at once.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers as well")]

use std::path::{Path, PathBuf};

use rustbox_health::{Admission, Cleanup, Event, Look, ReasonKind, Status, Store, What, WorkerState, admit, look};
use tempfile::TempDir;

fn place() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn state_file(dir: &Path) -> PathBuf {
    dir.join("health/state.json")
}

fn quarantine(dir: &Path, reason: &str) {
    Store::open(dir).unwrap().update(&Event::Quarantine { reason: reason.into() }, "test").unwrap();
}

fn start(dir: &Path) {
    Store::open(dir).unwrap().update(&Event::Started, "test").unwrap();
}

/// A worker that was written to and is healthy.
fn healthy() -> TempDir {
    let dir = place();
    let failed = Event::RunEnded { sightings: vec![], cleanup: Cleanup::Failed { error: "busy".into() } };
    let store = Store::open(dir.path()).unwrap();
    store.update(&failed, "test").unwrap();
    store.update(&Event::RunEnded { sightings: vec![], cleanup: Cleanup::Done }, "test").unwrap();
    assert!(matches!(admit(dir.path()).unwrap(), Admission::Open(Some(_))));
    dir
}

fn state(dir: &Path) -> WorkerState {
    match look(dir).unwrap().0 {
        Look::Known(state) => *state,
        other @ (Look::New | Look::Damaged { .. }) => panic!("{other:?}"),
    }
}

fn is_quarantined_for_damage(dir: &Path) -> bool {
    state(dir).quarantine.is_some_and(|held| held.kind == ReasonKind::StateCorrupted)
}

#[test]
fn a_new_worker_is_admitted_and_nothing_is_written() {
    let dir = place();
    assert!(matches!(admit(dir.path()).unwrap(), Admission::Open(None)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

// S42.
#[test]
fn a_quarantine_outlives_the_process_and_is_refused_with_its_reason() {
    let dir = place();
    quarantine(dir.path(), "orphan_process_detected");
    match admit(dir.path()).unwrap() {
        Admission::Refused(refused) => {
            assert_eq!(refused.reason, "orphan_process_detected");
            assert!(refused.to_string().contains("--unquarantine --reason"), "{refused}");
        }
        Admission::Open(_) => panic!("admitted"),
    }
}

#[test]
fn a_state_that_is_cut_anywhere_or_flipped_anywhere_quarantines_and_is_kept() {
    let dir = healthy();
    let whole = std::fs::read(state_file(dir.path())).unwrap();
    let cuts = (0..whole.len()).map(|length| whole[..length].to_vec());
    let flips = (0..whole.len() * 8).map(|bit| {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    let mut cases = 0;
    for damaged in cuts.chain(flips) {
        std::fs::write(state_file(dir.path()), &damaged).unwrap();
        assert!(matches!(look(dir.path()).unwrap().0, Look::Damaged { .. }), "{}", String::from_utf8_lossy(&damaged));
        cases += 1;
    }
    assert_eq!(cases, whole.len() * 9);
    // What follows from it, for one of each.
    for damaged in [whole[..whole.len() / 2].to_vec(), Vec::new()] {
        let dir = healthy();
        std::fs::write(state_file(dir.path()), &damaged).unwrap();
        assert!(matches!(admit(dir.path()).unwrap(), Admission::Refused(_)));
        assert!(is_quarantined_for_damage(dir.path()));
        let kept: Vec<PathBuf> = std::fs::read_dir(dir.path().join("health"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("state.json.corrupt-"))
            .collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(std::fs::read(&kept[0]).unwrap(), damaged);
        assert!(matches!(admit(dir.path()).unwrap(), Admission::Refused(_)), "and still the next time");
    }
}

#[test]
fn a_state_that_was_taken_away_or_rolled_back_quarantines() {
    let dir = place();
    start(dir.path());
    quarantine(dir.path(), "cleanup_failure");
    let old = std::fs::read(state_file(dir.path())).unwrap();
    Store::open(dir.path()).unwrap().update(&Event::Quarantine { reason: "x".into() }, "test").unwrap();
    std::fs::write(state_file(dir.path()), &old).unwrap();
    assert!(matches!(look(dir.path()).unwrap().0, Look::Damaged { .. }), "older than its history");
    start(dir.path());
    assert!(is_quarantined_for_damage(dir.path()));

    std::fs::remove_file(state_file(dir.path())).unwrap();
    assert!(matches!(admit(dir.path()).unwrap(), Admission::Refused(_)), "gone, and the history is not");
    assert!(is_quarantined_for_damage(dir.path()));
}

#[test]
fn what_a_newer_rustbox_has_added_is_kept_and_another_schema_is_refused() {
    let dir = place();
    quarantine(dir.path(), "x");
    let mut state = state(dir.path());
    state.unknown.insert("from_the_future".into(), serde_json::json!({"a": [1, 2]}));
    write(dir.path(), &serde_json::to_string(&state).unwrap());
    start(dir.path());
    assert_eq!(self::state(dir.path()).unknown["from_the_future"]["a"][1], 2);

    state.schema = "rustbox.health/v9".into();
    let text = serde_json::to_string(&state).unwrap();
    write(dir.path(), &text);
    let before = std::fs::read(state_file(dir.path())).unwrap();
    assert!(admit(dir.path()).unwrap_err().to_string().contains("rustbox.health/v9"));
    assert!(Store::open(dir.path()).unwrap().update(&Event::Started, "test").is_err());
    assert_eq!(std::fs::read(state_file(dir.path())).unwrap(), before, "not ours to change");
}

#[test]
fn a_state_without_the_fields_of_this_version_is_read() {
    let dir = place();
    start(dir.path());
    write(dir.path(), r#"{"schema":"rustbox.health/v1","generation":7,"quarantine":null}"#);
    let state = state(dir.path());
    assert_eq!((state.status(), state.generation), (Status::Healthy, 7));
}

/// Writes an object as rustbox seals it: by another implementation of the seal than the program's.
fn write(dir: &Path, object: &str) {
    let body = &object[1..];
    let mut hash: u64 = 14_695_981_039_346_656_037;
    for byte in body.bytes() {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(1_099_511_628_211);
    }
    std::fs::write(state_file(dir), format!("{{\"digest\":\"{hash:016x}\",{body}\n")).unwrap();
}

// Q03.
#[test]
fn the_history_survives_a_torn_line_and_a_kill_between_state_and_history() {
    let dir = place();
    quarantine(dir.path(), "one");
    let path = dir.path().join("health/quarantine-history.json");
    let one = std::fs::read(&path).unwrap();
    quarantine(dir.path(), "two");
    // Killed after the state was written, in the middle of the line.
    let both = std::fs::read(&path).unwrap();
    std::fs::write(&path, &both[..one.len() + 10]).unwrap();
    quarantine(dir.path(), "three");
    let (_, history) = look(dir.path()).unwrap();
    let reasons: Vec<&str> = history.entries.iter().map(|entry| entry.reason.as_str()).collect();
    assert_eq!((reasons, history.damaged_lines), (vec!["one", "two", "three"], 1));
    assert!(history.entries.iter().all(|entry| entry.what == What::Quarantined));
}

// QR08: what is torn or flipped in history and counters is seen, costs its own line alone, and is never taken for something else.
#[test]
fn every_cut_and_every_flipped_bit_of_history_and_counters_is_seen() {
    let dir = place();
    for reason in ["one", "two"] {
        quarantine(dir.path(), reason);
    }
    let reasons = |history: &rustbox_health::History| -> Vec<String> {
        history.entries.iter().map(|entry| entry.reason.clone()).collect()
    };
    let path = dir.path().join("health/quarantine-history.json");
    let whole = std::fs::read(&path).unwrap();
    let lines: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let history = rustbox_health::History::parse(&flipped);
        assert!(history.damaged_lines > 0, "bit {bit}");
        assert!(
            reasons(&history).iter().all(|reason| ["one", "two"].contains(&reason.as_str()))
                && history.entries.len() < 2
        );
    }
    for length in 0..whole.len() {
        let history = rustbox_health::History::parse(&whole[..length]);
        // A cut between two lines takes whole entries away: that is seen by the state's generation.
        let is_between = length == 0 || lines.contains(&(length - 1));
        assert_eq!(history.damaged_lines == 0, is_between, "cut to {length}");
    }

    let counters = dir.path().join("health/counters.log");
    let whole = std::fs::read(&counters).unwrap();
    let quarantines = || {
        let totals = rustbox_health::Counters::read(dir.path()).unwrap();
        (totals.count("rustbox_worker_quarantined_total/manual_quarantine"), totals.lost_lines())
    };
    assert_eq!(quarantines(), (2, 0));
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&counters, &flipped).unwrap();
        let (count, lost) = quarantines();
        // The first line is there twice: the second writer could not know that it was there, and its mark counts once.
        assert!(lost > 0 && (1..=2).contains(&count), "bit {bit}: {count} counted, {lost} lost");
    }
}

#[test]
fn many_writers_at_once_lose_nothing() {
    const WRITERS: usize = 64;
    let dir = place();
    std::thread::scope(|scope| {
        for number in 0..WRITERS {
            let dir = dir.path();
            scope.spawn(move || quarantine(dir, &format!("reason {number}")));
        }
    });
    let (_, history) = look(dir.path()).unwrap();
    let mut reasons: Vec<&str> = history.entries.iter().map(|entry| entry.reason.as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!((reasons.len(), history.entries.len(), history.damaged_lines), (WRITERS, WRITERS, 0));
    let generations: Vec<u64> = history.entries.iter().map(|entry| entry.generation).collect();
    assert_eq!(generations, (1..=64).collect::<Vec<u64>>(), "in order, each once");
    assert_eq!(state(dir.path()).generation, 64);
}

#[test]
fn a_directory_that_others_can_reach_is_named_and_not_used() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = place();
    let link = dir.path().join("link");
    symlink(dir.path(), &link).unwrap();
    assert!(Store::open(&link).unwrap_err().to_string().contains("symbolic link"));
    let open = dir.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
    assert!(Store::open(&open).unwrap_err().to_string().contains("written to by others"));
    let inner = dir.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    symlink(dir.path(), inner.join("health")).unwrap();
    assert!(Store::open(&inner).unwrap_err().to_string().contains("health is a symbolic link"));
    assert!(look(&inner).is_err());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&open, Some(65534), None).unwrap();
        assert!(Store::open(&open).unwrap_err().to_string().contains("belongs to somebody else"));
    }
}

#[test]
fn a_write_that_fails_leaves_the_state_as_it_was() {
    let dir = healthy();
    let before = std::fs::read(state_file(dir.path())).unwrap();
    // The name of the temporary file is taken by a directory: opening it for writing fails.
    std::fs::create_dir(dir.path().join("health/state.json.new")).unwrap();
    let error = Store::open(dir.path()).unwrap().update(&Event::Quarantine { reason: "x".into() }, "test").unwrap_err();
    assert!(error.to_string().contains("state.json"), "{error}");
    assert_eq!(std::fs::read(state_file(dir.path())).unwrap(), before);
}
