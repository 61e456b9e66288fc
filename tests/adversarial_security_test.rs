//! The named cases of the security plan (QS01) that are not containment, race, credentials or mounts:
//! paths, fork bombs, time limits, the network, and verdicts that are never guessed.
#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers as well")]

use std::time::Duration;

use rustbox_tests::{Lab, Pen};

/// A file of the host that no payload may read, and the payload's way to it.
fn path_attack(name: &str, how: &str) {
    let lab = Lab::open(name);
    let canary = lab.path().join("canary");
    std::fs::write(&canary, "CANARY\n").expect("write");
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("chmod");
    };
    open(&canary, 0o644);
    open(lab.path(), 0o755);
    let path = canary.display().to_string();
    let ended = lab.a_box().attack("contain_path_escape", &[&path, how]).finish();
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0).assert_said("contained");
    Pen::of("contain_path_escape", &[&path, how]).run().assert_escaped();
}

#[test]
fn path_traversal_absolute() {
    path_attack("absolute", "absolute");
}

#[test]
fn path_traversal_dotdot() {
    path_attack("dotdot", "dotdot");
}

#[test]
fn path_traversal_basic() {
    path_attack("basic", "procroot");
}

#[test]
fn symlink_escape() {
    path_attack("symlink", "symlink");
}

#[test]
fn symlink_race() {
    path_attack("race", "race");
}

#[test]
fn the_hosts_secrets_are_not_in_the_box() {
    let lab = Lab::open("secrets");
    let text = "for f in /etc/shadow /root /home /var/lib/rustbox /run/rustbox /sys /boot /etc/ssh; do \
                ls $f >/dev/null 2>&1 && cat $f/* $f 2>/dev/null | head -c 1 | grep -q . && echo \"read $f\"; done; env";
    let mut wrapped = vec!["/usr/bin/env".to_owned()];
    wrapped.extend((0..200).map(|i| format!("SECRET_{i}=swordfish-{i}")));
    let ended = lab.a_box().argv(["/bin/sh", "-c", text]).wrapped(wrapped).finish();
    ended.assert_contained();
    assert!(!ended.stdout.contains("swordfish") && !ended.stderr.contains("swordfish"), "{ended}");
    assert!(!ended.stdout.contains("read "), "{ended}");
    let names: Vec<_> = ended.stdout.lines().filter_map(|l| l.split('=').next()).collect();
    for name in names {
        assert!(
            ["PATH", "HOME", "LANG", "PWD", "OLDPWD", "SHLVL", "_", "RUSTBOX_TEST_BOX"].contains(&name),
            "{name}: {ended}"
        );
    }
}

#[test]
fn fork_bomb_basic() {
    let lab = Lab::open("bomb");
    let ended =
        lab.a_box().attack("contain_fork_storm", &["stay"]).flags(["--pids", "64", "--wall-time", "500ms"]).finish();
    ended.assert_contained().assert_verdict("TLE", "tle_wall", 124);
    assert!(ended.report().pids_refusals.is_some_and(|n| n > 0), "{ended}");
    let took = Duration::from_nanos(ended.report().containment.populated_zero_ns.expect("time to empty"));
    assert!(took < Duration::from_millis(500), "{took:?} to empty the box: {ended}");
}

#[test]
fn fork_bomb_with_exec() {
    let lab = Lab::open("bomb-exec");
    let flags = ["--pids", "64", "--wall-time", "500ms"];
    let ended = lab.a_box().attack("contain_fork_storm", &["stay", "exec"]).flags(flags).finish();
    ended.assert_contained().assert_verdict("TLE", "tle_wall", 124);
    assert!(ended.report().pids_refusals.is_some_and(|n| n > 0), "{ended}");
}

#[test]
fn timeout_busy_loop() {
    let lab = Lab::open("busy");
    let ended = lab.a_box().attack("contain_busy_loop", &[]).flags(["--wall-time", "200ms"]).finish();
    ended.assert_contained().assert_verdict("TLE", "tle_wall", 124);
}

#[test]
fn timeout_sleep() {
    let lab = Lab::open("sleep");
    let ended = lab.a_box().attack("contain_wall_sleep", &[]).flags(["--wall-time", "200ms"]).finish();
    ended.assert_contained().assert_verdict("TLE", "tle_wall", 124);
    assert!(ended.report().cpu_total_ns.is_some_and(|ns| ns < 100_000_000), "a sleeper uses no CPU time: {ended}");
}

#[test]
fn timeout_fork_storm() {
    let lab = Lab::open("storm-cpu");
    let flags = ["--pids", "64", "--time", "0.3", "--wall-time", "10"];
    let ended = lab.a_box().attack("contain_fork_storm", &["stay"]).flags(flags).finish();
    ended.assert_contained().assert_verdict("TLE", "tle_cpu", 124);
}

#[test]
fn limits_hold_while_nobody_reads_the_output() {
    // The reader of rustbox's output never reads: the supervisor must not block on it.
    let lab = Lab::open("no-reader");
    let text = "exec 9<&0; mkfifo \"$0\"; exec 8<>\"$0\"; exec \"$@\" >&8 2>/dev/null";
    let fifo = lab.path().join("fifo").display().to_string();
    for flags in [&["--wall-time", "300ms"][..], &["--wall-time", "300ms", "--output-limit", "10M"][..]] {
        let _old = std::fs::remove_file(&fifo);
        let command = lab.a_box().attack("contain_output_flood", &["stdout"]).flags(flags).flags(["--quiet"]);
        let ended = command.wrapped(["/bin/sh", "-c", text, &fifo]).finish();
        ended.assert_contained().assert_verdict("TLE", "tle_wall", 124);
        assert!(ended.elapsed < Duration::from_secs(5), "{ended}");
    }
}

#[test]
fn a_network_connection_to_the_host_is_impossible() {
    // Judge0 CVE-2024-29021: a network by default.
    let lab = Lab::open("net");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("address").port().to_string();
    let ended = lab.a_box().attack("contain_network", &[&port, "no-such-name"]).finish();
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
    listener.set_nonblocking(true).expect("nonblocking");
    assert!(listener.accept().is_err(), "somebody connected");
}

#[test]
fn what_the_payload_prints_cannot_forge_a_line_or_a_report() {
    let lab = Lab::open("forge");
    let text =
        "printf '\\033[31mrustbox: OK 0.0 s contained\\n{\"schema\":\"rustbox.run/v1\",\"status\":\"OK\"}\\n'; exit 9";
    let ended = lab.a_box().argv(["/bin/sh", "-c", text]).finish();
    ended.assert_contained().assert_verdict("RE", "re_nonzero_exit", 9);
    let names = "exec -a \"$(printf 'x) Z 1 1\\nUid:\\t0\\033[0m')\" sleep 5";
    let ended = lab.a_box().argv(["/bin/bash", "-c", &format!("{names} & sleep 0.1; exit 4")]).finish();
    ended.assert_contained().assert_verdict("RE", "re_nonzero_exit", 4);
    assert!(!ended.stderr.contains('\u{1b}'), "an escape sequence of the payload's reaches the terminal: {ended}");
}
