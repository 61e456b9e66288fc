//! P1-CONTAIN-001: nothing that a payload does outlives its box.
//!
//! Each case names its payload in `tests/adversarial`, asserts the evidence that the barrier held (not
//! only that nothing went wrong), and has its control: the same payload where that barrier is missing,
//! where its attack must succeed. S51, S57-S67, S71-S75, D8, D22, D23.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustbox_tests::{
    EndedBox, Lab, NOT_IN_BOX, Pen, SeenProcess, attack_that_stays, attack_that_tells, payload, payload_dir,
    payload_table, skip_unless,
};

fn states_at_kill(ended: &EndedBox) -> String {
    ended.report().containment.processes_at_kill.iter().filter_map(|p| p.state).collect()
}

#[test]
fn containment_double_fork() {
    // S10, S61, S72.
    let lab = Lab::open("double-fork");
    let ended = attack_that_stays(&lab, "contain_double_fork", &[], &[]);
    ended.assert_verdict("OK", "normal_exit", 0);
    assert!(ended.report().containment.left_session.is_some_and(|n| n >= 1), "{ended}");
    assert!(ended.report().containment.reaped_descendants.is_some_and(|n| n >= 1), "{ended}");
    Pen::of("contain_double_fork", &[]).run().assert_outlived();
}

#[test]
fn containment_exec_churn() {
    // S73, D11: whoever kills pid by pid comes too late.
    let lab = Lab::open("exec-churn");
    attack_that_stays(&lab, "contain_exec_churn", &[], &[]).assert_verdict("OK", "normal_exit", 0);
    Pen::of("contain_exec_churn", &[]).run().assert_outlived();
}

#[test]
fn containment_signal_ignore() {
    // S74, S06.
    let lab = Lab::open("signal-ignore");
    let ended = attack_that_stays(&lab, "contain_sigterm_ignore", &[], &["--wall-time", "300ms"]);
    ended.assert_verdict("TLE", "tle_wall", 124);
    let control = Pen::of("contain_sigterm_ignore", &[]).flag("--deadline-ms").flag("1000").run();
    assert_eq!(control.main, None, "it ended without a box: {control:?}");
}

#[test]
fn containment_daemon() {
    let lab = Lab::open("daemon");
    let ended = attack_that_stays(&lab, "contain_daemon", &[], &[]);
    assert!(ended.report().containment.left_session.is_some_and(|n| n >= 1), "{ended}");
    let names: Vec<_> = ended.report().containment.processes_at_kill.iter().filter_map(|p| p.comm.clone()).collect();
    assert!(names.iter().any(|n| n == "kworker/0:1"), "the daemon's forged name is not among {names:?}");
    Pen::of("contain_daemon", &[]).run().assert_outlived();
}

#[test]
fn a_holder_of_stdout_does_not_hold_up_the_end_of_the_run() {
    let lab = Lab::open("stdout-holder");
    for flags in [&["--wall-time", "20"][..], &["--wall-time", "20", "--output-limit", "1M"][..]] {
        let ended = attack_that_stays(&lab, "contain_stdout_holder", &[], flags);
        ended.assert_verdict("OK", "normal_exit", 0);
        assert!(ended.elapsed < Duration::from_secs(10), "{ended}");
    }
    Pen::of("contain_stdout_holder", &[]).run().assert_outlived();
}

#[test]
fn a_blocked_writer_to_a_pipe_that_nobody_reads_is_killed() {
    let lab = Lab::open("blocked-writer");
    let mut command = lab.a_box().attack("contain_stdout_holder", &["leave", "write"]).flags(["--quiet"]);
    command = command.wrapped(["/bin/sh", "-c", "exec \"$@\" 3>&1 | /bin/cat >/dev/null; exit 0", "sh"]);
    let ended = command.finish();
    assert!(ended.left().is_empty(), "{:?}", ended.left());
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
}

#[test]
fn stopped_processes_are_killed() {
    let lab = Lab::open("stopped");
    let ended = attack_that_stays(&lab, "contain_stopped", &[], &[]);
    assert!(states_at_kill(&ended).matches('T').count() >= 4, "{ended}");
    Pen::of("contain_stopped", &[]).run().assert_outlived();
}

#[test]
fn a_main_process_that_stops_itself_runs_into_the_wall_limit() {
    let lab = Lab::open("stops-itself");
    let ended = attack_that_stays(&lab, "contain_stopped", &["leave", "self"], &["--wall-time", "300ms"]);
    ended.assert_verdict("TLE", "tle_wall", 124);
}

#[test]
fn a_traced_process_is_killed_and_under_the_filter_cannot_be_made() {
    let lab = Lab::open("traced");
    attack_that_tells(&lab, "contain_traced", &[], &[]).assert_said("ptrace(PTRACE_TRACEME) = EPERM");
    let ended = attack_that_stays(&lab, "contain_traced", &[], &["--permissive", "--seccomp", "off"]);
    assert!(states_at_kill(&ended).contains('t'), "{ended}");
    Pen::of("contain_traced", &[]).run().assert_outlived();
}

#[test]
fn a_parent_blocked_in_vfork_is_killed() {
    let lab = Lab::open("vfork");
    let ended = attack_that_stays(&lab, "contain_vfork_blocked", &[], &[]);
    assert!(states_at_kill(&ended).contains('D'), "{ended}");
    Pen::of("contain_vfork_blocked", &[]).run().assert_outlived();
}

#[test]
fn a_pair_that_respawns_itself_is_killed_at_once() {
    let lab = Lab::open("pair");
    attack_that_stays(&lab, "contain_respawning_pair", &[], &[]);
    Pen::of("contain_respawning_pair", &[]).run().assert_outlived();
}

#[test]
fn a_zombie_leader_with_a_live_thread_is_killed() {
    // S05: the state letter says Z, and the process lives.
    let lab = Lab::open("zombie-leader");
    let ended = attack_that_stays(&lab, "contain_zombie_leader", &[], &[]);
    assert!(states_at_kill(&ended).contains('Z'), "{ended}");
    Pen::of("contain_zombie_leader", &[]).run().assert_outlived();
}

#[test]
fn sessions_of_their_own_do_not_help() {
    let lab = Lab::open("setsid");
    let ended = attack_that_stays(&lab, "contain_setsid", &[], &[]);
    assert!(ended.report().containment.left_session.is_some_and(|n| n >= 2), "{ended}");
    Pen::of("contain_setsid", &[]).run().assert_outlived();
}

#[test]
fn a_sibling_of_the_main_process_cannot_forge_its_status() {
    let lab = Lab::open("clone-parent");
    for _ in 0..20 {
        let ended = attack_that_stays(&lab, "contain_clone_parent", &[], &[]);
        ended.assert_verdict("RE", "re_nonzero_exit", 23);
        assert_eq!(ended.report().payload_exit_code, Some(23), "{ended}");
    }
    let control = Pen::of("contain_clone_parent", &[]).run();
    assert_eq!(control.main, Some(23), "{control:?}");
    assert!(!control.survivors.is_empty(), "no sibling outlives the main process: {control:?}");
}

#[test]
fn a_subreaper_that_reaps_nothing_leaves_no_zombie() {
    let lab = Lab::open("subreaper");
    let ended = attack_that_stays(&lab, "contain_subreaper", &[], &[]);
    assert_eq!(ended.report().containment.zombies, Some(0), "{ended}");
    Pen::of("contain_subreaper", &[]).run().assert_outlived();
}

#[test]
fn a_fork_storm_hits_the_limit_and_is_killed() {
    let lab = Lab::open("storm");
    for args in [&["leave"][..], &["leave", "exec"][..]] {
        let ended = attack_that_stays(&lab, "contain_fork_storm", args, &["--pids", "48"]);
        assert!(ended.report().pids_refusals.is_some_and(|n| n > 0), "{ended}");
    }
    Pen::of("contain_fork_storm", &[]).run().assert_outlived();
}

#[test]
fn init_survives_every_signal_of_the_payload() {
    let lab = Lab::open("signal-init");
    attack_that_tells(&lab, "contain_signal_init", &[], &[]).assert_said("kill(-1, SIGKILL) = ");
    // Without a box the same call reaches a stranger that runs as the same user; no other pen has this one.
    let mut stranger = Command::new("/bin/sleep");
    std::os::unix::process::CommandExt::uid(&mut stranger, 79_998);
    let mut stranger = stranger.arg("30").spawn().expect("a stranger");
    let control = Pen::of("contain_signal_init", &[&stranger.id().to_string()]).flag("--uid").flag("79998").run();
    let _ended = (stranger.kill(), stranger.wait());
    control.assert_escaped();
}

#[test]
fn a_cleared_parent_death_signal_does_not_save_an_orphan() {
    // The supervisor's death is tested in `supervisor_kill_test`; here the end of the main process.
    let lab = Lab::open("pdeathsig");
    attack_that_stays(&lab, "contain_pdeathsig_cleared", &[], &[]);
    Pen::of("contain_pdeathsig_cleared", &[]).run().assert_outlived();
}

#[test]
fn the_process_tree_is_rustbox_then_init_then_payload() {
    // S13-S16, D3, D24.
    let lab = Lab::open("tree");
    let mut running = lab.a_box().attack("contain_spawn_race", &["fork"]).stdin(Stdio::piped()).start();
    running.await_output("armed:");
    let name = format!("rustbox-{}", running.box_id());
    let members: Vec<SeenProcess> = rustbox_tests::scan().into_iter().filter(|p| p.is_in_cgroup(&name)).collect();
    let supervisor = SeenProcess::read(running.pid()).expect("the supervisor");
    assert!(!supervisor.is_in_cgroup(&name), "D4: the supervisor is in the box's cgroup");
    let init = members.iter().find(|p| p.comm == "rustbox-init").expect("an init called rustbox-init");
    assert_eq!(init.ppid, supervisor.pid, "{init:?}");
    let main = members
        .iter()
        .find(|p| p.ppid == init.pid && p.exe.as_deref().is_some_and(|e| e.ends_with("contain_spawn_race")));
    assert!(main.is_some(), "{members:#?}");
    for member in &members {
        assert_ne!(member.pid_namespace, supervisor.pid_namespace, "S11: {member:?}");
        assert!(member.pid_namespace.is_some(), "{member:?}");
    }
    assert!(
        String::from_utf8_lossy(&init.cmdline).contains("rustbox"),
        "D3: {:?}",
        String::from_utf8_lossy(&init.cmdline)
    );
    drop(running.take_stdin());
    running.finish().assert_contained();
}

#[test]
fn a_payload_started_bare_does_nothing_and_says_so() {
    // D23.
    for row in payload_table() {
        let begun = std::time::Instant::now();
        let output = Command::new(payload(&row.name)).stdin(Stdio::null()).output().expect("start a payload");
        assert_eq!(output.status.code(), Some(NOT_IN_BOX), "{}: {output:?}", row.name);
        assert!(String::from_utf8_lossy(&output.stdout).contains("not in a box"), "{}: {output:?}", row.name);
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", row.name);
        let left: Vec<_> =
            rustbox_tests::scan().into_iter().filter(|p| p.exe.as_deref() == Some(&payload(&row.name))).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn the_table_names_every_payload_and_its_tests() {
    // S75.
    let mut sources: Vec<String> = std::fs::read_dir(payload_dir())
        .expect("payloads")
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter_map(|n| n.strip_suffix(".c").map(str::to_owned))
        .collect();
    sources.sort();
    let there = if sources.is_empty() { Err("payloads without their sources".to_owned()) } else { Ok(()) };
    if !skip_unless("payload_sources", there) {
        return;
    }
    let mut rows = payload_table();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(rows.iter().map(|r| r.name.clone()).collect::<Vec<_>>(), sources);
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(directory.join("adversarial/README.md")).expect("README.md");
    for row in rows {
        assert!(!row.requirements.is_empty() && !row.barrier.is_empty() && !row.control.is_empty(), "{row:?}");
        assert!(readme.contains(&format!("| `{}` | {} | {} |", row.name, row.barrier, row.evidence)), "{}", row.name);
        for test in &row.tests {
            let text = std::fs::read_to_string(directory.join(format!("{test}.rs"))).expect("a test");
            assert!(text.contains(&row.name), "{test}.rs does not run {}", row.name);
        }
    }
}
