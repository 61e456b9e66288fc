//! What the report and the kernel say about the system call filter, and that the filter is what denies.
//! QS02: a failure is attributed to the filter where it is the filter's, and to nothing else.

use std::collections::BTreeSet;

use rustbox_core::KillReason;
use rustbox_tests::{EndedBox, Lab, skip_unless};

/// Payload, the call that the filter stops first, and its errno under `--seccomp errno`.
const DENIED: &[(&str, &str, &str)] = &[
    ("contain_mount", "mount", "mount(tmpfs) = EPERM"),
    ("contain_keyctl", "add_key", "add_key(process keyring) = EPERM"),
    ("contain_traced", "ptrace", "ptrace(PTRACE_TRACEME) = EPERM"),
    ("contain_nested_ns", "unshare", "unshare(CLONE_NEWUSER) = EPERM"),
];

fn applied<'ended>(ended: &'ended EndedBox, control: &str) -> Option<&'ended rustbox_core::AppliedControl> {
    ended.report().controls.applied_controls.iter().find(|c| c.control == control)
}

#[test]
fn the_filter_is_on_by_default_and_read_back() {
    let lab = Lab::open("default");
    let ended = lab.a_box().attack("contain_credentials", &[]).finish();
    ended.assert_contained().assert_said("Seccomp:\t2").assert_said("Seccomp_filters:\t");
    assert!(applied(&ended, "seccomp").is_some(), "{ended}");
    assert!(applied(&ended, "no_new_privs").is_some(), "{ended}");
    assert!(ended.report().controls.missing_controls.is_empty(), "{ended}");
    assert_eq!(ended.report().controls.unsafe_execution_reason, None, "{ended}");
    let same = lab.a_box().attack("contain_credentials", &[]).flags(["--enable-syscall-filtering"]).finish();
    same.assert_contained().assert_said("Seccomp:\t2");
}

#[test]
fn a_filter_that_is_off_is_a_reported_degradation() {
    let lab = Lab::open("off");
    for flags in [&["--seccomp", "off"][..], &["--no-seccomp"][..]] {
        let ended = lab.a_box().attack("contain_credentials", &[]).flags(flags).flags(["--permissive"]).finish();
        ended.assert_contained().assert_verdict("OK", "normal_exit", 0).assert_said("Seccomp:\t0");
        assert!(applied(&ended, "seccomp").is_none(), "{ended}");
        let reason = ended.report().controls.unsafe_execution_reason.clone();
        assert!(reason.is_some_and(|r| r.contains("seccomp")), "{ended}");
    }
}

#[test]
fn a_denied_call_is_an_error_and_no_verdict_by_default() {
    let lab = Lab::open("errno");
    for (name, _, said) in DENIED {
        let ended = lab.a_box().attack(name, &[]).finish();
        ended.assert_contained().assert_verdict("OK", "normal_exit", 0).assert_said(said);
    }
}

#[test]
fn with_kill_the_call_is_named_and_it_is_the_filter_that_stopped_it() {
    let lab = Lab::open("kill");
    for (name, call, _) in DENIED {
        let ended = lab.a_box().attack(name, &[]).flags(["--seccomp", "kill"]).finish();
        ended.assert_contained().assert_verdict("SV", "sv_seccomp", 159);
        let reason = ended.report().kill_reason.clone();
        assert!(matches!(&reason, Some(KillReason::Seccomp { name: Some(n), .. }) if n == call), "{reason:?} {ended}");
    }
}

#[test]
fn ordinary_programs_run_under_kill_as_well() {
    // What a C library tries first and does without (clone3, io_uring, rseq) must not end a program.
    let lab = Lab::open("ordinary");
    let text = "ls / >/dev/null; (sleep 0.01 & wait); cat /proc/self/status >/dev/null; date >/dev/null; exit 5";
    let ended = lab.a_box().argv(["/bin/sh", "-c", text]).flags(["--seccomp", "kill"]).finish();
    ended.assert_contained().assert_verdict("RE", "re_nonzero_exit", 5);
}

/// Names in the array of a C source: `SYS_` and what follows.
fn listed_in_c(source: &str, array: &str) -> BTreeSet<String> {
    let body = source.split(&format!("{array}[] = {{")).nth(1).and_then(|rest| rest.split("};").next());
    let words = body.unwrap_or_default().split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter_map(|word| word.strip_prefix("SYS_")).map(str::to_owned).collect()
}

/// Calls that the published policy denies with this errno, whatever their arguments.
fn always_denied(page: &str, errno: &str) -> BTreeSet<String> {
    let rows = page.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let rows = rows.filter(|row| row.len() > 3 && row[2] == "always" && row[3] == format!("`{errno}`"));
    rows.flat_map(|row| row[1].split(", ").map(|call| call.trim_matches('`').to_owned()).collect::<Vec<_>>()).collect()
}

#[test]
fn the_walk_over_all_calls_knows_the_published_policy() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let there = |path: &str| std::fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"));
    let sources = there("adversarial/contain_syscall_walk.c").and_then(|walk| Ok((walk, there("../docs/seccomp.md")?)));
    if !skip_unless("payload_sources", sources.as_ref().map(|_| ()).map_err(Clone::clone)) {
        return;
    }
    let (walk, page) = sources.expect("both");
    for (array, errno) in [("denied_eperm", "EPERM"), ("denied_enosys", "ENOSYS")] {
        let (listed, denied) = (listed_in_c(&walk, array), always_denied(&page, errno));
        assert!(listed.len() > 20, "{listed:?}");
        assert_eq!(listed, denied, "{array}");
    }
}
