//! The host's mounts, cgroups and System V objects are the same after a run as before, however it ended.
#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers as well")]

use rustbox_tests::{HostState, Lab, wait_clean, wait_until};

/// Asserts that nothing was added. A look may meet a box of another test that runs at the same time: what is
/// compared is what stays.
fn assert_same(before: &HostState, lab: &Lab) {
    let id = lab.path().file_name().and_then(|n| n.to_str()).expect("a name").to_owned();
    let mut after = HostState::read();
    let same = wait_until(std::time::Duration::from_secs(2), || {
        after = HostState::read();
        (after.mounts == before.mounts).then_some(())
    });
    let added: Vec<_> = after.mounts.difference(&before.mounts).collect();
    let gone: Vec<_> = before.mounts.difference(&after.mounts).collect();
    assert!(same.is_some(), "mounts added: {added:#?}; gone: {gone:#?}");
    assert!(!after.mounts.iter().any(|m| m.contains(&id)), "{id} is mounted");
}

#[test]
fn mount_invariance_success() {
    let lab = Lab::open("mounts-ok");
    let before = HostState::read();
    let shared = lab.path().display().to_string();
    let flags = ["--ro-bind", &format!("{shared}:/data"), "--tmpfs", "/scratch:1M"];
    let text = "cat /proc/self/mountinfo; touch /scratch/a /tmp/b /box/c /dev/shm/d";
    let ended = lab.a_box().argv(["/bin/sh", "-c", text]).flags(flags).finish();
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
    assert_same(&before, &lab);
    let points: Vec<_> = ended.stdout.lines().filter_map(|l| l.split(' ').nth(4)).collect();
    for point in ["/", "/proc", "/tmp", "/dev/shm", "/box", "/data", "/scratch"] {
        assert!(points.contains(&point), "{point} is not mounted in the box: {points:?}");
    }
    // Each mount in the box is nosuid, and only what was asked for can be written.
    for line in ended.stdout.lines() {
        let options = line.split(' ').nth(5).unwrap_or_default();
        let point = line.split(' ').nth(4).unwrap_or_default();
        assert!(options.split(',').any(|o| o == "nosuid"), "{line}");
        // The device nodes are on /dev itself, and one of them masks files of /proc; nobody in a box can add one.
        let devices = point == "/dev" || line.contains(" /null /proc/");
        assert!(devices || options.split(',').any(|o| o == "nodev"), "{line}");
    }
    let old_root = ended.stdout.lines().any(|l| l.contains("/sys/fs/cgroup"));
    assert!(!old_root, "the host's mounts are still below the root: {}", ended.stdout);
}

#[test]
fn the_root_is_read_only_and_the_work_directories_are_not() {
    let lab = Lab::open("read-only");
    let text = "for d in / /usr /etc /bin /proc /dev; do touch $d/x 2>/dev/null && echo \"wrote $d\"; done; \
                for d in /box /tmp /dev/shm; do touch $d/x || echo \"cannot write $d\"; done; pwd";
    let ended = lab.a_box().argv(["/bin/sh", "-c", text]).finish();
    ended.assert_contained();
    assert_eq!(ended.stdout.trim(), "/box", "{ended}");
}

#[test]
fn mount_invariance_failure() {
    let lab = Lab::open("mounts-bad");
    let before = HostState::read();
    let bad_bind = ["--ro-bind", "/no/such/source:/data"];
    let ended = lab.a_box().argv(["/bin/true"]).flags(bad_bind).finish();
    assert!(ended.left().is_empty(), "{:?}", ended.left());
    assert_eq!(ended.code(), Some(125), "{ended}");
    assert_same(&before, &lab);
    for (argv, flags) in [
        (["/no/such/program", ""], &["--quiet"][..]),
        (["/bin/sh", "-c exit 3"], &["--quiet"][..]),
        (["/bin/cat", "/dev/zero"], &["--wall-time", "100ms", "--stdout", "/dev/null"][..]),
    ] {
        let ended = lab.a_box().argv(argv.into_iter().filter(|a| !a.is_empty())).flags(flags).finish();
        assert!(ended.left().is_empty(), "{:?}", ended.left());
        assert_same(&before, &lab);
    }
}

#[test]
fn mount_invariance_after_a_killed_supervisor() {
    let lab = Lab::open("mounts-kill");
    let before = HostState::read();
    let running = lab.a_box().attack("contain_daemon", &["stay"]).start();
    running.await_output("armed:");
    let box_id = running.box_id().to_owned();
    running.kill();
    let left = wait_clean(&box_id, &lab.state_dir());
    assert!(left.is_empty(), "{left:#?}");
    assert_same(&before, &lab);
}
