//! P1-CONTAIN-001: nothing that a payload does outlives its box.
//!
//! Each case names its payload in `tests/adversarial`. What has to be seen, in the box and in the control where the attack
//! must succeed, is in `payloads.toml`, which `cargo xtask proof` runs as a whole. S51, S57-S67, S71-S75, D8, D22, D23.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustbox_tests::proof::{assert_holds, markdown_table, payload_table};
use rustbox_tests::{Lab, NOT_IN_BOX, SeenProcess, attack_that_stays, payload, payload_dir, skip_unless};

#[test]
fn containment_double_fork() {
    // S10, S61, S72.
    assert_holds("contain_double_fork");
}

#[test]
fn containment_triple_fork() {
    assert_holds("contain_triple_fork");
}

#[test]
fn containment_exec_churn() {
    // S73, D11: whoever kills pid by pid comes too late.
    assert_holds("contain_exec_churn");
}

#[test]
fn containment_signal_ignore() {
    // S74, S06.
    assert_holds("contain_sigterm_ignore");
}

#[test]
fn containment_daemon() {
    assert_holds("contain_daemon");
}

#[test]
fn a_holder_of_stdout_does_not_hold_up_the_end_of_the_run() {
    assert_holds("contain_stdout_holder");
}

#[test]
fn closed_streams_do_not_change_the_verdict() {
    assert_holds("contain_close_stdio");
}

#[test]
fn stopped_processes_are_killed() {
    assert_holds("contain_stopped");
}

#[test]
fn a_traced_process_is_killed_and_under_the_filter_cannot_be_made() {
    assert_holds("contain_traced");
}

#[test]
fn a_parent_blocked_in_vfork_is_killed() {
    assert_holds("contain_vfork_blocked");
}

#[test]
fn a_pair_that_respawns_itself_is_killed_at_once() {
    assert_holds("contain_respawning_pair");
}

#[test]
fn timers_do_not_bring_anything_back() {
    assert_holds("contain_timers");
}

#[test]
fn a_zombie_leader_with_a_live_thread_is_killed() {
    // S05: the state letter says Z, and the process lives.
    assert_holds("contain_zombie_leader");
}

#[test]
fn sessions_of_their_own_do_not_help() {
    assert_holds("contain_setsid");
}

#[test]
fn a_subreaper_that_reaps_nothing_leaves_no_zombie() {
    assert_holds("contain_subreaper");
}

#[test]
fn a_fork_storm_hits_the_limit_and_is_killed() {
    assert_holds("contain_fork_storm");
}

#[test]
fn two_thousand_processes_are_killed() {
    assert_holds("contain_many_processes");
}

#[test]
fn slow_ends_are_waited_for() {
    assert_holds("contain_slow_exit");
}

#[test]
fn init_survives_every_signal_of_the_payload() {
    assert_holds("contain_signal_init");
}

#[test]
fn a_cleared_parent_death_signal_does_not_save_an_orphan() {
    // The supervisor's death is tested in `supervisor_kill_test`; here the end of the main process.
    assert_holds("contain_pdeathsig_cleared");
}

#[test]
fn forged_names_and_programs_without_a_file_do_not_help() {
    assert_holds("contain_rename");
    assert_holds("contain_memfd");
    assert_holds("contain_long_names");
}

#[test]
fn the_runtime_cannot_be_executed_or_joined() {
    assert_holds("contain_exec_init");
    assert_holds("contain_setns");
}

#[test]
fn the_root_cannot_be_left() {
    assert_holds("contain_chroot");
}

#[test]
fn no_program_can_be_made_to_run_on_the_host() {
    // CVE-2022-0492 and its kin.
    assert_holds("contain_release_agent");
    assert_holds("contain_core_pattern");
    assert_holds("contain_binfmt");
}

#[test]
fn no_power_comes_from_a_file() {
    assert_holds("contain_file_caps");
}

#[test]
fn rare_doors_into_the_kernel_are_shut() {
    assert_holds("contain_foreign_abi");
    assert_holds("contain_kernel_surface");
    assert_holds("contain_io_uring");
    assert_holds("contain_userfaultfd");
}

#[test]
fn what_is_not_its_own_cannot_be_read() {
    assert_holds("contain_environ");
    assert_holds("contain_masked_proc");
    assert_holds("contain_host_socket");
}

#[test]
fn nothing_shared_can_be_used_up() {
    assert_holds("contain_tmpfs_memory");
    assert_holds("contain_descriptors");
    assert_holds("contain_disk");
    assert_holds("contain_inodes");
    assert_holds("contain_socket_memory");
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
fn a_sibling_of_the_main_process_cannot_forge_its_status() {
    assert_holds("contain_clone_parent");
    // A race of init's, so not once only.
    let lab = Lab::open("clone-parent");
    for _ in 0..20 {
        let ended = attack_that_stays(&lab, "contain_clone_parent", &[], &[]);
        ended.assert_verdict("RE", "re_nonzero_exit", 23);
        assert_eq!(ended.report().payload_exit_code, Some(23), "{ended}");
    }
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

/// The text of a test program, with that of its modules in other directories.
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
fn source_of(directory: &std::path::Path, test: &str) -> String {
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).expect("a test");
    let text = read(&format!("{test}.rs"));
    let modules = text.lines().filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]"));
    modules.map(read).fold(text.clone(), |all, module| all + &module)
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
    for row in rows {
        assert!(!row.requirements.is_empty() && !row.barrier.is_empty() && !row.case.is_empty(), "{row:?}");
        for test in &row.tests {
            let text = source_of(directory, test);
            assert!(text.contains(&row.name), "{test}.rs does not run {}", row.name);
        }
    }
    let page = std::fs::read_to_string(directory.join("../docs/proof.md")).expect("docs/proof.md");
    let how =
        "put what `containment-proof table` prints (cargo run -p rustbox-tests --bin containment-proof table) there";
    assert!(page.contains(&markdown_table()), "the table in docs/proof.md is not that of payloads.toml: {how}");
}
