//! What a cleanup makes of dead boxes whose records are forged.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustbox_tests::{Canary, Lab, skip_unless};

use crate::run;

/// The directory of a box that was never there.
fn place_of(lab: &Lab, box_id: &str) -> PathBuf {
    // It makes the directories.
    let _made = run(lab.rustbox().arg("ps"));
    let place = lab.state_dir().join("boxes").join(box_id);
    std::fs::create_dir(&place).expect("a box's directory");
    place
}

/// Whoever collects a dead box may be killed before the last of it, its record, is gone: the lock is free then.
#[test]
fn cleanup_takes_over_from_one_that_was_killed() {
    let lab = Lab::open("takes-over");
    let box_id = format!("{}-taken-over", lab.prefix());
    let place = place_of(&lab, &box_id);
    let record = serde_json::to_string(&rustbox_tests::forged_record(&box_id, 70_996)).expect("a record");
    std::fs::write(place.join("lock"), record).expect("a record");
    let other = std::fs::File::open(place.join("lock")).expect("its lock");
    other.try_lock().expect("the lock of a dead box");
    let (code, stdout, stderr) = std::thread::scope(|scope| {
        let cleanup = scope.spawn(|| run(lab.rustbox().args(["cleanup", &box_id])));
        let gave_up = rustbox_tests::wait_until(Duration::from_millis(300), || cleanup.is_finished().then_some(()));
        drop(other);
        assert!(gave_up.is_none(), "it did not wait for the other: {:?}", cleanup.join());
        cleanup.join().expect("no panic")
    });
    assert_eq!(code, Some(0), "{stdout} {stderr}");
    assert!(!place.exists(), "{stdout} {stderr}");
}

/// Runs a recovery in the lab that finds a dead box of this name, whose record says that this was its supervisor and its
/// init. The words `SELF` and `BORN` stand for the recovery's own pid and start time.
fn recover_from_a_record_of(
    lab: &Lab,
    box_id: &str,
    program: &mut Command,
    [pid, starttime]: [&str; 2],
) -> Option<i32> {
    let place = place_of(lab, box_id);
    let mut record = serde_json::to_value(rustbox_tests::forged_record(box_id, 70_997)).expect("a record");
    record["pid"] = "PID".into();
    record["starttime_ticks"] = "TICKS".into();
    record["init"] = serde_json::json!({ "pid": "PID", "starttime_ticks": "TICKS" });
    let text = record.to_string().replace("\"PID\"", pid).replace("\"TICKS\"", starttime);
    // `exec` keeps the pid, and the kernel keeps the start time with it.
    let script = "born=$(sed 's/.*) //' /proc/$$/stat | cut -d ' ' -f 20)
        for name in lock marks; do printf %s \"$RECORD\" | sed \"s/SELF/$$/g; s/BORN/$born/g\" > \"$PLACE/$name\"; done
        exec \"$@\"";
    let mut shell = Command::new("/bin/sh");
    shell.args(["-euc", script, "sh"]).arg(program.get_program()).args(program.get_args());
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (code, stdout, stderr) = run(shell.env("PLACE", &place).env("RECORD", text).stdin(Stdio::null()));
    assert!(code != Some(0) || !place.exists(), "{pid}: {stdout} {stderr}");
    code
}

// Whatever a record says of pids, and with the right start time as well, nobody is signalled for it.
#[test]
fn a_record_that_names_the_recovery_itself_or_a_stranger_kills_nobody() {
    let lab = Lab::open("named");
    let stranger = Canary::start(&format!("{}-named", lab.prefix()));
    let (pid, seen) =
        (stranger.pid().to_string(), rustbox_tests::SeenProcess::read(stranger.pid()).expect("it is there"));
    let (born, earlier) = (seen.starttime_ticks.to_string(), (seen.starttime_ticks - 1).to_string());
    let first = rustbox_tests::SeenProcess::read(1).expect("pid 1").starttime_ticks.to_string();
    let rows = [["SELF", "BORN"], [&pid, &born], [&pid, &earlier], ["1", &first], ["0", "0"], ["-1", "0"]];
    for (number, row) in rows.into_iter().enumerate() {
        let box_id = format!("{}-named-{number}", lab.prefix());
        let code = recover_from_a_record_of(&lab, &box_id, lab.rustbox().args(["cleanup", &box_id]), row);
        assert_eq!(code, Some(0), "{row:?}");
        stranger.assert_unharmed();
    }
    // The control is a recovery that believes its record: it is dead. Nothing in that is the kernel's.
    if rustbox_tests::in_guest() {
        return;
    }
    let planted = rustbox_tests::build_planted();
    let there = planted.as_ref().map(|_| ()).ok_or_else(|| "no compiler, and no RUSTBOX_PLANTED_BIN".to_owned());
    if skip_unless("planted_bug", there) {
        let mut program = Command::new(planted.expect("it was built"));
        let box_id = format!("{}-believed", lab.prefix());
        program
            .env("RUSTBOX_PLANTED", "kill-by-pid")
            .arg("--state-dir")
            .arg(lab.state_dir())
            .args(["cleanup", &box_id]);
        assert_eq!(recover_from_a_record_of(&lab, &box_id, &mut program, ["SELF", "BORN"]), None, "killed by itself");
    }
}
