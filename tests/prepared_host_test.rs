//! Boxes that begin from an empty mount namespace (`rustbox prepare`) are the same boxes, and the host is as before.
#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers as well")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use rustbox_tests::{HostState, Lab, Pen, attack_that_tells, fingerprint_of};
use rustix::mount::{MountFlags, mount, mount_bind};

/// The mounts of a box, without the numbers that the kernel gave them. Without a writable bind where the kernel cannot map
/// the owners on the file system of the lab.
fn mounts(lab: &Lab, can_map: bool) -> BTreeSet<String> {
    let writable = lab.path().join("writable");
    std::fs::create_dir_all(&writable).expect("a directory");
    let access = if can_map { "--bind" } else { "--ro-bind" };
    let binds = [access, &format!("{}:/data", writable.display()), "--ro-bind", "/proc/version:/name"];
    let ended = lab.a_box().argv(["/bin/cat", "/proc/self/mountinfo"]).flags(binds).finish();
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
    let inside = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let source = words[3].replace(lab.path().to_str().expect("a name"), "LAB");
        let own = |option: &str| option.starts_with("uid=7") || option.starts_with("gid=7");
        let options: Vec<_> = words[9].split(',').filter(|option| !own(option)).collect();
        format!("{source} {} {} {} {options:?}", words[4], words[5], words[7])
    };
    ended.stdout.lines().map(inside).collect()
}

#[test]
fn a_box_of_a_prepared_host_is_the_same_box() {
    let (plain, prepared) = (Lab::open("plain"), Lab::prepared("prepared"));
    let bind = format!("{}:/data", plain.path().display());
    let probe = plain.a_box().argv(["/bin/true"]).flags(["--bind", &bind]).finish();
    let can_map = !probe.stderr.contains("cannot map owners on that file system");
    let (one, other) = (mounts(&plain, can_map), mounts(&prepared, can_map));
    assert!(one.len() > 12, "{one:#?}");
    assert_eq!(one, other);
    let look = |lab: &Lab| {
        let ended = lab.a_box().attack("contain_fingerprint", &[]).finish();
        ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
        fingerprint_of(&ended.stdout).expect("a fingerprint")
    };
    let differs = look(&prepared).against(&look(&plain));
    assert!(differs.is_empty(), "{differs:#?}");
}

/// What lies below the root is empty, and there is no way to it.
#[test]
fn the_ways_out_of_a_root_lead_nowhere() {
    let lab = Lab::prepared("escapes");
    for (name, args) in [
        ("contain_chroot", &[][..]),
        ("contain_mount", &[]),
        ("contain_nested_ns", &[]),
        ("contain_mknod", &[]),
        ("contain_masked_proc", &[]),
    ] {
        attack_that_tells(&lab, name, args, &[]);
    }
    let canary = lab.path().join("canary");
    std::fs::write(&canary, "CANARY\n").expect("write");
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("chmod");
    };
    open(&canary, 0o644);
    open(lab.path(), 0o755);
    let path = canary.display().to_string();
    for how in ["absolute", "dotdot", "procroot", "symlink", "race"] {
        attack_that_tells(&lab, "contain_path_escape", &[&path, how], &[]);
        Pen::of("contain_path_escape", &[&path, how]).run().assert_escaped();
    }
}

#[test]
fn preparing_can_be_repeated_and_taken_back_whole() {
    let lab = Lab::prepared("again");
    let directory = lab.path().display().to_string();
    let here = || HostState::read().mounts.iter().filter(|line| line.contains(&directory)).count();
    // Its own tmpfs, the namespace, and the test's leases.
    assert_eq!(here(), 3);
    let said = |args: &[&str]| {
        let output = lab.call(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(said(&["prepare"]), "prepared already\n");
    // A box that lives keeps what it began from.
    let running = lab.a_box().argv(["/bin/sh", "-c", "echo here; sleep 1; ls /usr"]).start();
    running.await_output("here");
    assert!(said(&["prepare", "--undo"]).starts_with("taken back"));
    assert_eq!(said(&["prepare", "--undo"]), "nothing was prepared\n");
    assert_eq!(here(), 1);
    let ended = running.finish();
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0).assert_said("bin");
    lab.a_box().argv(["/bin/true"]).finish().assert_contained();
    drop(lab);
    assert_eq!(here(), 0);
}

/// As somebody leaves it who is killed on the way.
#[test]
fn what_was_begun_can_be_finished_and_taken_back() {
    let lab = Lab::prepared("begun");
    let directory = lab.path().join("runtime/prepared");
    let call = |args: &[&str]| assert!(lab.call(args).status.success(), "{args:?}");
    let begun: [fn(&Path); 3] = [
        |directory| std::fs::create_dir(directory).expect("a directory"),
        |directory| {
            std::fs::create_dir(directory).expect("a directory");
            mount("rustbox", directory, "tmpfs", MountFlags::empty(), c"mode=0700").expect("a tmpfs");
        },
        |directory| {
            std::fs::create_dir(directory).expect("a directory");
            mount("rustbox", directory, "tmpfs", MountFlags::empty(), c"mode=0700").expect("a tmpfs");
            std::fs::write(directory.join("mnt"), "").expect("a file");
        },
    ];
    for begin in begun {
        for finish in [&["prepare"][..], &["prepare", "--undo"]] {
            call(&["prepare", "--undo"]);
            begin(&directory);
            call(finish);
            lab.a_box().argv(["/bin/true"]).finish().assert_contained().assert_verdict("OK", "normal_exit", 0);
            assert_eq!(directory.join("mnt").exists(), finish.len() == 1);
        }
        assert!(!directory.exists());
    }
}

/// The control of all of the above: a namespace with the host in it is not taken for an empty one, and is replaced.
#[test]
fn a_namespace_that_is_not_empty_is_refused() {
    let lab = Lab::prepared("full");
    let point = lab.path().join("runtime/prepared/mnt");
    let mut other = Command::new("/usr/bin/env");
    other.args(["unshare", "--mount", "sleep", "20"]);
    let mut other = other.spawn().expect("unshare of util-linux");
    let own = std::fs::read_link("/proc/self/ns/mnt").expect("a namespace");
    let theirs = format!("/proc/{}/ns/mnt", other.id());
    let apart = rustbox_tests::wait_until(std::time::Duration::from_secs(5), || {
        std::fs::read_link(&theirs).is_ok_and(|link| link != own).then_some(())
    });
    let bound = mount_bind(&theirs, &point);
    let refused = lab.a_box().argv(["/bin/true"]).finish();
    let anew = lab.call(["prepare"]);
    let _ended = other.kill().and_then(|()| other.wait());
    assert!(apart.is_some() && bound.is_ok());
    assert!(anew.stdout.starts_with(b"prepared: "), "{anew:?}");
    assert_eq!(refused.code(), Some(125), "{refused}");
    assert!(refused.stderr.contains("begin from an empty mount namespace"), "{refused}");
    assert!(refused.stderr.contains("`rustbox prepare` makes it anew"), "{refused}");
    assert!(refused.left().is_empty(), "{:?}", refused.left());
    lab.a_box().argv(["/bin/true"]).finish().assert_contained().assert_verdict("OK", "normal_exit", 0);
}

/// A place below which mount namespaces are bound can be shown on a prepared host too.
#[test]
fn a_bind_of_the_runtime_directory_is_as_on_any_host() {
    for lab in [Lab::open("runtime"), Lab::prepared("runtime")] {
        for source in [lab.path().display().to_string(), "/run".to_owned()] {
            let bind = format!("{source}:/shown");
            let ended = lab.a_box().argv(["/bin/ls", "/shown"]).flags(["--ro-bind", &bind]).finish();
            ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
        }
    }
}

/// What is no mount namespace there changes nothing.
#[test]
fn other_files_in_its_place_are_ignored() {
    let lab = Lab::prepared("files");
    assert!(lab.call(["prepare", "--undo"]).status.success());
    let directory = lab.path().join("runtime/prepared");
    std::fs::create_dir(&directory).expect("a directory");
    let run = || {
        lab.a_box().argv(["/bin/true"]).finish().assert_contained().assert_verdict("OK", "normal_exit", 0);
    };
    std::fs::write(directory.join("mnt"), "").expect("a file");
    run();
    std::fs::remove_file(directory.join("mnt")).expect("remove");
    std::os::unix::fs::symlink("/proc/self/ns/mnt", directory.join("mnt")).expect("a link");
    run();
    std::fs::remove_dir_all(&directory).expect("remove");
}
