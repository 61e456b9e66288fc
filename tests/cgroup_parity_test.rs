//! B13: the same payload gets the same verdict, whichever cgroup interface counts it.

use rustbox_core::CgroupBackend;
use rustbox_tests::{CgroupLayout, Lab, skip_unless};

type Words = &'static [&'static str];
type Verdict = (&'static str, &'static str, i32);

/// Payload, arguments, flags, verdict.
const CASES: &[(&str, Words, Words, Verdict)] = &[
    ("contain_kill_self", &["0", "0"], &[], ("OK", "normal_exit", 0)),
    ("contain_kill_self", &["0", "3"], &[], ("RE", "re_nonzero_exit", 3)),
    ("contain_kill_self", &["11"], &[], ("SIG", "re_fatal_signal", 139)),
    ("contain_memory_group", &["24"], &["--mem", "64M"], ("MLE", "mle_kernel_oom", 137)),
    ("contain_memory_group", &["24"], &["--mem", "192M"], ("RE", "re_nonzero_exit", 90)),
    ("contain_pids_limit", &["100"], &["--pids", "20"], ("PLE", "ple_pids", 1)),
    ("contain_pids_limit", &["100", "threads"], &["--pids", "20"], ("PLE", "ple_pids", 1)),
    ("contain_cpu_children", &["3000"], &["--time", "0.2"], ("TLE", "tle_cpu", 124)),
    ("contain_busy_loop", &[], &["--time", "0.1"], ("TLE", "tle_cpu", 124)),
    ("contain_wall_sleep", &[], &["--wall-time", "100ms"], ("TLE", "tle_wall", 124)),
    ("contain_fsize", &[], &["--fsize", "1M"], ("FSE", "fse_limit", 153)),
    ("contain_output_flood", &[], &["--output-limit", "100K", "--stdout", "/dev/null"], ("OLE", "ole_output_cap", 124)),
    ("contain_double_fork", &[], &[], ("OK", "normal_exit", 0)),
    ("contain_exec_churn", &[], &[], ("OK", "normal_exit", 0)),
    ("contain_fork_storm", &["leave"], &["--pids", "48"], ("OK", "normal_exit", 0)),
    ("contain_zombie_leader", &[], &[], ("OK", "normal_exit", 0)),
    ("contain_stopped", &[], &[], ("OK", "normal_exit", 0)),
    ("contain_vfork_blocked", &[], &[], ("OK", "normal_exit", 0)),
];

fn every_case_on(lab: &Lab, global: &[&str], expected: CgroupBackend) {
    for (name, args, flags, (status, cause, code)) in CASES {
        let ended = lab.a_box().global(global).attack(name, args).flags(*flags).finish();
        ended.assert_contained().assert_verdict(status, cause, *code);
        let report = ended.report();
        assert_eq!(report.controls.cgroup_backend, expected, "{ended}");
        assert!(report.memory_peak_bytes.is_some_and(|n| n > 0), "memory peak is unknown: {ended}");
        assert!(report.cpu_total_ns.is_some_and(|n| n > 0), "CPU time is unknown: {ended}");
        assert!(report.pids_refusals.is_some() && report.oom_kills.is_some(), "{ended}");
    }
}

#[test]
fn verdicts_on_what_the_host_has_by_default() {
    let layout = CgroupLayout::read();
    let expected = match (layout.unified.is_some(), layout.controller("memory").is_some()) {
        (true, true) => CgroupBackend::Hybrid,
        (true, false) => CgroupBackend::V2,
        (false, _) => CgroupBackend::V1,
    };
    every_case_on(&Lab::open("parity-default"), &[], expected);
}

#[test]
fn verdicts_on_cgroup_v1_alone() {
    let v1 = CgroupLayout::read().controller("memory").is_some();
    let there = if v1 { Ok(()) } else { Err("no cgroup v1 hierarchy with a memory controller".to_owned()) };
    if skip_unless("parity_v1", there) {
        every_case_on(&Lab::open("parity-v1"), &["--cgroup-backend", "v1"], CgroupBackend::V1);
    }
}
