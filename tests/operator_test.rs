//! What an operator does beside a live box: by hand with the runbook's commands, and with rustbox's own verbs.
//! D26, D34, D39, S15, S17, S18, S32-S36, and signals to rustbox itself.
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers as well")]

#[path = "operator/records.rs"]
mod records;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustbox_core::RunReport;
use rustbox_tests::{Canary, CgroupLayout, Lab, RunningBox, residue, scan, skip_unless, wait_clean};
use rustix::process::Signal;

fn a_living_box<'lab>(lab: &'lab Lab, flags: &[&str]) -> RunningBox<'lab> {
    let running = lab.a_box().attack("contain_daemon", &["stay"]).flags(flags).start();
    running.await_output("armed:");
    running
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The first line of `rustbox cgroup-root`: where every process of a box is listed (D17).
fn first_root(lab: &Lab) -> String {
    let (code, stdout, stderr) = run(lab.rustbox().arg("cgroup-root"));
    assert_eq!(code, Some(0), "{stderr}");
    stdout.lines().next().expect("a line").to_owned()
}

fn members(directory: &str) -> BTreeSet<u32> {
    let text = std::fs::read_to_string(format!("{directory}/cgroup.procs")).expect("cgroup.procs");
    text.lines().filter_map(|l| l.parse().ok()).collect()
}

#[test]
fn signals_to_rustbox_end_the_box_and_say_so() {
    let lab = Lab::open("signals");
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2), (Signal::HUP, 1)] {
        let running = a_living_box(&lab, &[]);
        let canary = Canary::start(running.box_id());
        running.signal(signal);
        let ended = running.finish();
        ended.assert_contained().assert_verdict("INT", "interrupted", 128 + number);
        canary.assert_unharmed();
    }
}

#[test]
fn a_second_interrupt_does_not_leave_anything() {
    let lab = Lab::open("impatient");
    let running = a_living_box(&lab, &[]);
    for _ in 0..5 {
        running.signal(Signal::INT);
        running.signal(Signal::TERM);
    }
    let ended = running.finish();
    assert!(ended.left().is_empty(), "{:#?} {ended}", ended.left());
    ended.assert_contained();
}

#[test]
fn an_interrupt_at_any_moment_of_setup_leaves_nothing() {
    let lab = Lab::open("early");
    let mut random = rustbox_tests::Random::from_environment();
    let whole = lab.a_box().attack("contain_daemon", &[]).finish().elapsed;
    for _ in 0..60 {
        let running = lab.a_box().attack("contain_daemon", &["stay"]).start();
        let _early = running.pidfd().wait(random.duration(whole));
        running.signal(Signal::TERM);
        let ended = running.finish();
        assert!(ended.left().is_empty(), "{:#?} {ended}", ended.left());
        let died_before_main = ended.try_report().is_none() && ended.status.code().is_none();
        assert!(died_before_main || ended.code() == Some(143), "{ended}");
    }
}

#[test]
fn procedure_2_by_hand_beside_a_live_supervisor() {
    // D26: cat cgroup.procs | xargs kill -9, wait, verify, rmdir.
    let lab = Lab::open("procedure-2");
    let running = a_living_box(&lab, &[]);
    let canary = Canary::start(running.box_id());
    let root = first_root(&lab);
    let text = "cat $1/cgroup.procs | xargs kill -9; \
                for i in $(seq 2000); do [ -e $1 ] || break; rmdir $1 2>/dev/null && break; done; \
                ! ls $1/cgroup.procs 2>/dev/null";
    let directory = format!("{root}/rustbox-{}", running.box_id());
    let (code, stdout, stderr) = run(Command::new("/bin/sh").args(["-c", text, "sh", &directory]));
    assert_eq!(code, Some(0), "{stdout} {stderr}");
    let ended = running.finish();
    assert!(ended.left().is_empty(), "{:#?} {ended}", ended.left());
    canary.assert_unharmed();
    let report = ended.report();
    assert_ne!(report.status.as_str(), "CV", "the supervisor accuses itself: {ended}");
    let truthful = report.killed_by.as_deref() == Some("external") || report.cause.as_str() == "ie_init_killed";
    assert!(truthful, "who killed it is not told: {ended}");
}

#[test]
fn a_main_process_killed_from_outside_is_told_as_such() {
    let lab = Lab::open("main-killed");
    let running = a_living_box(&lab, &[]);
    let name = format!("rustbox-{}", running.box_id());
    let host = scan();
    let init = host.iter().find(|p| p.is_in_cgroup(&name) && p.ppid == running.pid()).expect("init");
    let main = host.iter().find(|p| {
        p.ppid == init.pid
            && p.exe.as_deref().is_some_and(|e| e.ends_with("contain_daemon"))
            && !p.cmdline.starts_with(b"k")
    });
    let main = main.unwrap_or_else(|| panic!("no main process below {init:?}"));
    rustbox_tests::PidFd::open(main.pid).expect("pidfd").signal(Signal::KILL);
    let ended = running.finish();
    ended.assert_contained();
    assert_eq!(
        (ended.report().status.as_str(), ended.report().signal, ended.code()),
        ("SIG", Some(9), Some(137)),
        "{ended}"
    );
}

#[test]
fn rustbox_kill_ends_a_live_box_and_its_supervisor_tells_it() {
    let lab = Lab::open("kill");
    let running = a_living_box(&lab, &[]);
    let other = a_living_box(&lab, &[]);
    let (code, stdout, stderr) = run(lab.rustbox().args(["kill", running.box_id()]));
    assert_eq!(code, Some(0), "{stdout} {stderr}");
    let box_id = running.box_id().to_owned();
    let ended = running.finish();
    assert!(ended.left().is_empty(), "{:#?}", ended.left());
    ended.assert_verdict("SIG", "killed_externally", 137);
    assert_eq!(ended.report().killed_by.as_deref(), Some("external"), "{ended}");
    // Idempotent, also when nothing is there any more.
    for _ in 0..2 {
        let (code, _, stderr) = run(lab.rustbox().args(["kill", &box_id]));
        assert_eq!(code, Some(0), "{stderr}");
    }
    assert!(!other.pidfd().wait(Duration::ZERO), "another box was killed");
    other.signal(Signal::TERM);
    other.finish().assert_contained();
}

#[test]
fn kill_and_cleanup_work_without_a_state_file() {
    let lab = Lab::open("no-state");
    let running = a_living_box(&lab, &[]);
    let layout = CgroupLayout::read();
    let used = layout.directories(&format!("rustbox-{}", running.box_id()));
    let elsewhere = Lab::open("elsewhere");
    let (code, stdout, stderr) = run(elsewhere.rustbox().args(["kill", running.box_id()]));
    assert_eq!(code, Some(0), "{stdout} {stderr}");
    let ended = running.finish();
    assert!(ended.left().is_empty(), "{:#?} {ended}", ended.left());
    // Directories that nobody owns, where a box had its own: as after a crash of everything.
    let name = format!("rustbox-t{}-abandoned", std::process::id());
    used.iter().for_each(|directory| std::fs::create_dir(directory.with_file_name(&name)).expect("mkdir"));
    let box_id = name.trim_start_matches("rustbox-");
    let (code, stdout, stderr) = run(lab.rustbox().args(["cleanup", box_id]));
    assert_eq!(code, Some(0), "{stdout} {stderr}");
    assert!(layout.directories(&name).is_empty(), "{:?}", layout.directories(&name));
}

#[test]
fn cleanup_of_dead_boxes_never_touches_a_living_one() {
    // D34: cleanup with one state directory cannot touch the live boxes of another, nor live ones of its own
    // unless it is told to.
    let lab = Lab::open("cleanup");
    let elsewhere = Lab::open("cleanup-other");
    let running = a_living_box(&lab, &[]);
    for command in [lab.rustbox().arg("cleanup"), elsewhere.rustbox().args(["cleanup", "--all"])] {
        let (code, stdout, stderr) = run(command);
        assert!(matches!(code, Some(0 | 1)), "{stdout} {stderr}");
        assert!(!running.pidfd().wait(Duration::from_millis(100)), "a live box was ended: {stdout} {stderr}");
    }
    let (code, stdout, stderr) = run(lab.rustbox().args(["cleanup", "--all"]));
    assert_eq!(code, Some(0), "{stdout} {stderr}");
    let ended = running.finish();
    assert!(ended.left().is_empty(), "{:#?}", ended.left());
}

#[test]
fn cleanup_collects_what_a_crash_of_everything_left() {
    let lab = Lab::open("crash");
    let running = a_living_box(&lab, &[]);
    let box_id = running.box_id().to_owned();
    // Supervisor and keeper die together: only then is anything left for cleanup.
    let keepers: Vec<_> = scan()
        .into_iter()
        .filter(|p| p.comm == "rustbox-keeper" && p.cmdline.split(|b| *b == 0).any(|w| w == box_id.as_bytes()))
        .collect();
    for keeper in &keepers {
        rustbox_tests::PidFd::open(keeper.pid).expect("pidfd of a keeper").signal(Signal::KILL);
    }
    running.kill();
    let dead = rustbox_tests::wait_until(rustbox_tests::BOUND, || {
        let alive = residue(&box_id, &lab.state_dir()).into_iter().filter(|l| l.starts_with("process ")).count();
        (alive == 0).then_some(())
    });
    assert!(dead.is_some(), "{:#?}", residue(&box_id, &lab.state_dir()));
    let (code, stdout, stderr) = run(lab.rustbox().arg("cleanup"));
    assert_eq!(code, Some(0), "{stdout} {stderr}");
    assert!(wait_clean(&box_id, &lab.state_dir()).is_empty(), "{:#?}", residue(&box_id, &lab.state_dir()));
    assert!(!keepers.is_empty(), "no keeper was found: the crash was not one of everything");
    let (code, _, _) = run(lab.rustbox().arg("cleanup"));
    assert_eq!(code, Some(0), "a second cleanup is a no-op");
}

#[test]
fn the_next_run_collects_what_a_crash_of_everything_left() {
    let lab = Lab::open("next-run");
    let running = a_living_box(&lab, &[]);
    let box_id = running.box_id().to_owned();
    let of_the_box = |comm: &str| {
        let named = |p: &rustbox_tests::SeenProcess| p.cmdline.split(|b| *b == 0).any(|w| w == box_id.as_bytes());
        scan().into_iter().find(|p| p.comm == comm && named(p)).expect("a process of the box")
    };
    let keeper = rustbox_tests::PidFd::open(of_the_box("rustbox-keeper").pid).expect("pidfd of the keeper");
    keeper.signal(Signal::KILL);
    running.kill();
    let dead = rustbox_tests::wait_until(rustbox_tests::BOUND, || {
        let alive = residue(&box_id, &lab.state_dir()).into_iter().filter(|l| l.starts_with("process ")).count();
        (alive == 0).then_some(())
    });
    assert!(dead.is_some(), "{:#?}", residue(&box_id, &lab.state_dir()));
    lab.a_box().argv(["/bin/true"]).finish().assert_contained().assert_verdict("OK", "normal_exit", 0);
    let left = wait_clean(&box_id, &lab.state_dir());
    assert!(left.is_empty(), "the next run left it: {left:#?}");
}

#[test]
fn the_meta_file_says_xx_until_the_end_and_the_truth_then() {
    let lab = Lab::open("meta");
    let meta = lab.path().join("meta");
    let flag = meta.display().to_string();
    let read = || std::fs::read_to_string(&meta).unwrap_or_default();
    let running = a_living_box(&lab, &["--meta", &flag]);
    assert!(read().lines().any(|l| l == "status:XX"), "{}", read());
    running.kill();
    assert!(read().lines().any(|l| l == "status:XX"), "after a SIGKILL: {}", read());
    for (name, args, flags, lines) in [
        ("contain_kill_self", &["0", "0"][..], &[][..], &["exitcode:0"][..]),
        ("contain_kill_self", &["0", "7"], &[], &["status:RE", "exitcode:7"]),
        ("contain_kill_self", &["11"], &[], &["status:SG", "exitsig:11"]),
        ("contain_wall_sleep", &[], &["--wall-time", "100ms"], &["status:TO", "killed:1"]),
        ("contain_memory_group", &["24"], &["--mem", "64M"], &["cg-oom-killed:1"]),
    ] {
        let ended = lab.a_box().attack(name, args).flags(flags).flags(["--meta", &flag]).finish();
        ended.assert_contained();
        for line in lines {
            assert!(read().lines().any(|l| l == *line), "{name} {args:?}: no {line:?} in {}", read());
        }
        for key in ["time:", "time-wall:", "cg-mem:"] {
            assert!(read().lines().any(|l| l.starts_with(key)), "{name} {args:?}: no {key} in {}", read());
        }
    }
}

#[test]
fn ps_lists_exactly_the_members_of_the_cgroup() {
    // S18.
    let lab = Lab::open("ps");
    let running = a_living_box(&lab, &[]);
    let members = members(&format!("{}/rustbox-{}", first_root(&lab), running.box_id()));
    let (code, stdout, stderr) = run(lab.rustbox().args(["ps", "--json"]));
    assert_eq!(code, Some(0), "{stderr}");
    let listed: serde_json::Value = serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}"));
    let boxes = listed["boxes"].as_array().unwrap_or_else(|| panic!("no boxes: {stdout}"));
    let ours = boxes.iter().find(|b| b["box_id"] == running.box_id()).unwrap_or_else(|| panic!("not listed: {stdout}"));
    let pids = ours["pids"].as_array().unwrap_or_else(|| panic!("no pids: {stdout}"));
    let pids: BTreeSet<u32> = pids.iter().filter_map(|p| u32::try_from(p.as_u64()?).ok()).collect();
    assert_eq!(pids, members, "{stdout}");
    assert!(members.len() >= 3, "init, main process and daemon: {members:?}");
    running.signal(Signal::TERM);
    running.finish().assert_contained();
}

#[test]
fn the_runbooks_first_look_finds_the_box() {
    // S13, S15, S17: find, ps, pstree.
    let pstree = std::path::Path::new("/usr/bin/pstree").exists();
    let lab = Lab::open("first-look");
    let running = a_living_box(&lab, &[]);
    let (_, found, _) = run(Command::new("find").args(["/sys/fs/cgroup", "-name", "rustbox-*", "-type", "d"]));
    assert!(found.contains(running.box_id()), "{found}");
    let there = if pstree { Ok(()) } else { Err("no pstree(1)".to_owned()) };
    if skip_unless("pstree", there) {
        let (_, tree, _) = run(Command::new("pstree").args(["-p", &running.pid().to_string()]));
        let order: Vec<_> =
            ["rustbox(", "rustbox-init(", "contain_daemon("].iter().map(|name| tree.find(name)).collect();
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{order:?} {tree}");
    }
    let box_id = running.box_id().to_owned();
    running.signal(Signal::TERM);
    running.finish().assert_contained();
    let (_, found, _) = run(Command::new("find").args(["/sys/fs/cgroup", "-name", "rustbox-*", "-type", "d"]));
    assert!(!found.contains(&box_id), "{found}");
}

#[test]
fn of_two_supervisors_with_one_id_exactly_one_wins() {
    let lab = Lab::open("busy");
    let running = a_living_box(&lab, &[]);
    let second = lab.a_box().named(running.box_id()).argv(["/bin/true"]);
    let output =
        Command::new(&second.words()[0]).args(&second.words()[1..]).stdin(Stdio::null()).output().expect("rustbox");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("busy") || said.contains("in use") || said.contains("lock"), "{said}");
    assert!(!running.pidfd().wait(Duration::ZERO), "the loser ended the winner's box");
    // Another state directory does not help: the lock is on the box itself.
    let elsewhere = Lab::open("busy-elsewhere");
    let third = elsewhere.a_box().named(running.box_id()).argv(["/bin/true"]).finish_loser();
    assert_eq!(third, Some(125));
    assert!(!running.pidfd().wait(Duration::ZERO), "the loser ended the winner's box");
    running.signal(Signal::TERM);
    running.finish().assert_contained();
}

#[test]
fn sixteen_claimants_of_one_id_never_share_it() {
    let lab = Lab::open("claimants");
    let box_id = lab.a_box().box_id().to_owned();
    let codes: Vec<_> = std::thread::scope(|scope| {
        let claim =
            || scope.spawn(|| lab.a_box().named(&box_id).attack("contain_spawn_race", &["fork"]).finish_loser());
        let threads: Vec<_> = (0..16).map(|_| claim()).collect();
        threads.into_iter().map(|t| t.join().expect("a claimant")).collect()
    });
    assert!(codes.iter().all(|c| matches!(c, Some(0 | 125))), "{codes:?}");
    assert!(codes.contains(&Some(0)), "nobody won: {codes:?}");
    assert!(wait_clean(&box_id, &lab.state_dir()).is_empty(), "{:?}", residue(&box_id, &lab.state_dir()));
    let waited = lab.a_box().named(&box_id).argv(["/bin/true"]).flags(["--wait-for-box=5"]).finish();
    waited.assert_contained().assert_verdict("OK", "normal_exit", 0);
}

#[test]
fn wait_for_box_waits_for_its_turn() {
    let lab = Lab::open("turn");
    let running = lab.a_box().attack("contain_wall_sleep", &[]).flags(["--wall-time", "400ms"]).start();
    running.await_output("armed:");
    let box_id = running.box_id().to_owned();
    let second =
        lab.a_box().named(&box_id).argv(["/bin/true"]).flags(["--wait-for-box=10"]).report_as("second").finish();
    second.assert_contained().assert_verdict("OK", "normal_exit", 0);
    running.finish().assert_verdict("TLE", "tle_wall", 124);
}

#[test]
fn a_signal_ends_the_wait_for_a_box_and_leaves_the_box_alone() {
    let lab = Lab::open("no-turn");
    let running = a_living_box(&lab, &[]);
    let box_id = running.box_id().to_owned();
    let second = lab.a_box().named(&box_id).argv(["/bin/true"]).flags(["--wait-for-box"]).report_as("second").start();
    // Until it has blocked the signal, which it does before it waits, the kernel would end it as it ends anybody.
    let status = format!("/proc/{}/status", second.pid());
    let blocks_term = || {
        let text = std::fs::read_to_string(&status).ok()?;
        let blocked = text.lines().find_map(|line| line.strip_prefix("SigBlk:"))?;
        let mask = u64::from_str_radix(blocked.trim(), 16).expect("a mask");
        (mask & 1 << (Signal::TERM.as_raw() - 1) != 0).then_some(())
    };
    assert!(rustbox_tests::wait_until(Duration::from_secs(10), blocks_term).is_some(), "it never blocks SIGTERM");
    // That it waits shows in its not having ended.
    assert!(!second.pidfd().wait(Duration::from_millis(300)), "it does not wait");
    second.signal(Signal::TERM);
    assert!(second.pidfd().wait(Duration::from_secs(10)), "a signal does not end the wait");
    let code = second.exit_code();
    assert_eq!(code, Some(128 + 15));
    assert!(!members(&format!("{}/rustbox-{box_id}", first_root(&lab))).is_empty(), "the other's box is gone");
    running.signal(Signal::TERM);
    running.finish().assert_contained().assert_verdict("INT", "interrupted", 143);
}

#[test]
fn status_lines_tell_the_run_and_end_with_the_report() {
    let lab = Lab::open("status-fd");
    let lines = lab.path().join("lines");
    let text = format!("exec \"$@\" 7>{}", lines.display());
    let ended = lab
        .a_box()
        .attack("contain_double_fork", &[])
        .flags(["--status-fd", "7"])
        .wrapped(["/bin/sh", "-c", &text, "sh"])
        .finish();
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
    let text = std::fs::read_to_string(&lines).expect("status lines");
    let objects: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
    assert!(objects.len() >= 3, "{text}");
    let last = objects.last().expect("a last line");
    let report = last.get("report").unwrap_or(last).clone();
    let report: RunReport = serde_json::from_value(report).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(&report, ended.report());
}

#[test]
fn a_stopped_supervisor_does_not_lift_the_death_guarantee() {
    let lab = Lab::open("stopped");
    let running = a_living_box(&lab, &[]);
    let box_id = running.box_id().to_owned();
    running.signal(Signal::STOP);
    running.kill();
    let left = wait_clean(&box_id, &lab.state_dir());
    assert!(left.is_empty(), "{left:#?}");
}

// STYLE: what an error says, works.
#[test]
fn a_cgroup_that_is_in_the_way_is_refused_with_the_command_that_removes_it() {
    let lab = Lab::open("in-the-way");
    let box_id = lab.a_box().box_id().to_owned();
    let group = std::path::Path::new(&first_root(&lab)).join(format!("rustbox-{box_id}"));
    std::fs::create_dir(&group).expect("a cgroup of that name");
    let again = || run(lab.rustbox().args(["run", "--box-id", &box_id, "--", "/bin/true"]));
    let (code, _, stderr) = again();
    assert_eq!(code, Some(125), "{stderr}");
    let command = format!("`rustbox cleanup {box_id}`");
    assert!(stderr.contains("exists already") && stderr.contains(&command), "{stderr}");
    let (code, stdout, stderr) = run(lab.rustbox().args(["cleanup", &box_id]));
    assert_eq!(code, Some(0), "{stdout} {stderr}");
    assert!(!group.exists(), "{stdout} {stderr}");
    assert_eq!(again().0, Some(0), "and then it runs");
}
