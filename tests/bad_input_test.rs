//! Bad input of every flag of `rustbox run`: 125, the flag named on stderr, nothing created, nothing run.
#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers as well")]

use std::process::{Command, Stdio};

use rustbox_tests::{CgroupLayout, Lab, rustbox};

/// A flag with values that it must refuse.
const BAD: &[(&str, &[&str])] = &[
    ("--mem", &["", "0", "-1", "1K", "64X", "NaN", "1e9", "0x10", "99999999T", "٣", " 64M", "64M "]),
    ("--pids", &["", "0", "-1", "4194304", "99999999999", "1.5", "many", "٣"]),
    ("--time", &["", "0", "-1", "NaN", "inf", "1e9", "1x", "99999999999999", "1,5"]),
    ("--wall-time", &["", "0", "-1", "NaN", "inf", "1e9", "1x", "99999999999999", "1,5"]),
    ("--extra-time", &["", "-1", "NaN", "1x"]),
    ("--cpus", &["", "0", "-1", "NaN", "inf", "all", "1e400"]),
    ("--cpuset", &["", "-1", "a", "3-1", "0,", "99999999999"]),
    ("--fsize", &["", "-1", "1X"]),
    ("--open-files", &["", "-1", "2", "99999999999"]),
    ("--stack", &["", "-1", "1X"]),
    ("--core", &["", "-1", "1X"]),
    ("--address-space", &["", "-1", "1X"]),
    ("--output-limit", &["", "-1", "1X"]),
    ("--tmp-size", &["", "0", "-1", "1", "1X"]),
    ("--box-size", &["", "0", "-1", "1", "1X"]),
    ("--rootfs", &["", "relative", "../.."]),
    ("--bind", &["", "relative", "/tmp:relative", "/tmp:/a/../b", "/tmp:/", ":/x"]),
    ("--ro-bind", &["", "relative", "/tmp:relative", "/tmp:/a/./b", "/tmp:/", ":/x"]),
    ("--tmpfs", &["", "relative", "/", "/a/../b", "/a:0", "/a:1X"]),
    ("--chdir", &["", "relative", "/a/../b"]),
    (
        "--hostname",
        &["", "a b", "a/b", "a\nb", "0123456789012345678901234567890123456789012345678901234567890123456789"],
    ),
    ("--pass-fd", &["", "-1", "0", "2", "one", "99999999999", "77"]),
    ("--env", &["", "=x"]),
    ("--net", &["", "bridge"]),
    ("--seccomp", &["", "on"]),
    ("--wait", &["", "some"]),
    ("--box-id", &["", "..", ".", "/", "a/../b", "A", "a_b", "-a", "a b", "a\n", "\u{202e}a", "é", "%n", "a."]),
    ("--cgroup-backend", &["", "v3"]),
    ("--status-fd", &["", "-1", "one", "77"]),
    ("--no-such-flag", &["1"]),
];

fn refused(words: &[&str]) -> String {
    let lab = Lab::open("bad");
    let marker = lab.path().join("ran");
    let text = format!("touch {}", marker.display());
    let mut command = Command::new(rustbox());
    command.arg("--state-dir").arg(lab.state_dir()).arg("run").args(words).args(["--", "/bin/sh", "-c", &text]);
    let output = command.stdin(Stdio::null()).output().expect("rustbox");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{words:?}: {said}");
    assert!(output.stdout.is_empty(), "{words:?}: {:?}", output.stdout);
    assert!(!said.trim().is_empty(), "{words:?} is refused without a word");
    assert!(!said.contains("panicked"), "{words:?}: {said}");
    let boxes = std::fs::read_dir(lab.state_dir().join("boxes")).map_or(0, Iterator::count);
    assert_eq!(boxes, 0, "{words:?} left a record");
    said
}

#[test]
fn every_flag_refuses_bad_values_by_its_name() {
    for (flag, values) in BAD {
        for value in *values {
            let said = refused(&[&format!("{flag}={value}")]);
            assert!(said.contains(flag), "{flag}={value}: the flag is not named: {said}");
        }
    }
    assert!(CgroupLayout::read().directories("rustbox-").is_empty(), "a cgroup of an empty id");
}

#[test]
fn a_missing_command_or_value_is_refused() {
    for words in [
        &["run"][..],
        &["run", "--"],
        &["run", "--mem"],
        &["run", "--", ""],
        &["run", "--code"],
        &["kill"],
        &["nonsense"],
    ] {
        let output = Command::new(rustbox()).args(words).stdin(Stdio::null()).output().expect("rustbox");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(125), "{words:?}: {said}");
        assert!(!said.trim().is_empty() && !said.contains("panicked"), "{words:?}: {said}");
    }
}

#[test]
fn what_follows_the_command_is_the_commands_own() {
    // flatpak CVE-2024-32462: an argument of the payload taken as an option of the sandbox.
    let lab = Lab::open("argv");
    let ended = lab.a_box().argv(["/bin/echo", "--mem", "1", "--seccomp", "off", "--", "--net=host"]).finish();
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
    assert_eq!(ended.stdout, "--mem 1 --seccomp off -- --net=host\n", "{ended}");
    let output = Command::new(rustbox())
        .arg("--state-dir")
        .arg(lab.state_dir())
        .args(["run", "--quiet", "/bin/echo", "--seccomp", "off"])
        .stdin(Stdio::null())
        .output()
        .expect("rustbox");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "--seccomp off\n");
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let lab = Lab::open("bytes");
    let long = "x".repeat(100_000);
    let words = ["/usr/bin/printf", "%s|", "", " ", "a\nb", "\u{1b}[31m", "$(id)", "`id`", "'", "\"", "\\", "*", &long];
    let ended = lab.a_box().argv(words).finish();
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
    let expected: String = words[2..].iter().map(|w| format!("{w}|")).collect();
    assert_eq!(ended.stdout, expected);
}

#[test]
fn code_runs_a_shell_text_and_dry_run_runs_nothing() {
    // D13.
    let lab = Lab::open("code");
    let run = |words: &[&str]| {
        let output = lab.rustbox().args(words).output().expect("rustbox");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, stdout) = run(&["run", "--quiet", "--code", "echo test; exit 3"]);
    assert_eq!((code, stdout.as_str()), (Some(3), "test\n"));
    let (code, stdout) = run(&["--dry-run", "run", "--json", "--code", "echo test"]);
    assert_eq!(code, Some(0), "{stdout}");
    assert!(!stdout.lines().any(|l| l == "test"), "{stdout}");
    for field in ["configured_controls", "missing_controls", "mode_decision_reason", "cgroup_backend"] {
        assert!(stdout.contains(field), "{field}: {stdout}");
    }
}
