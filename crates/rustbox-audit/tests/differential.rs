//! The lean parsers against the `procfs` crate, on every process of this host.

use std::collections::HashMap;
use std::fs;

use procfs::process::{Process, all_processes};
use rustbox_audit::{
    Life, Phase, ProcRoot, ProcSnapshot, Registry, parse_cgroup, parse_namespace_link, parse_stat, parse_status,
};

/// Fields that stay as they are while a process lives and its parent does.
type Fixed = (String, i32, u64, u32);

fn by_procfs(process: &Process) -> Option<Fixed> {
    let stat = process.stat().ok()?;
    let status = process.status().ok()?;
    Some((stat.comm, stat.ppid, stat.starttime, status.ruid))
}

fn by_us(pid: i32) -> Option<Fixed> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let (stat, name) = parse_stat(&text)?;
    let status = parse_status(&fs::read(format!("/proc/{pid}/status")).ok()?)?;
    let ppid = i32::try_from(stat.ppid).ok()?;
    Some((String::from_utf8_lossy(name).into_owned(), ppid, stat.starttime_ticks, status.uid))
}

#[test]
fn every_process_reads_the_same_in_both() {
    let mut compared = 0;
    for process in all_processes().expect("procfs").flatten() {
        // Read on both sides of the other reading: who changes in between is not compared.
        let Some(before) = by_us(process.pid) else { continue };
        let Some(theirs) = by_procfs(&process) else { continue };
        if by_us(process.pid).as_ref() != Some(&before) {
            continue;
        }
        assert_eq!(before, theirs, "pid {}", process.pid);
        compared += 1;
    }
    println!("{compared} processes compared");
    assert!(compared > 5, "a host has processes");
}

#[test]
fn cgroups_and_namespaces_read_the_same_in_both() {
    let mut compared = 0;
    for process in all_processes().expect("procfs").flatten() {
        let read = || fs::read(format!("/proc/{}/cgroup", process.pid));
        let (Ok(before), Ok(theirs), Ok(after)) = (read(), process.cgroups(), read()) else { continue };
        if before != after {
            continue;
        }
        let ours = parse_cgroup(&before).expect("kernel text parses");
        let ours: Vec<_> = ours.iter().map(|line| String::from_utf8_lossy(&line.path).into_owned()).collect();
        let theirs: Vec<_> = theirs.into_iter().map(|group| group.pathname).collect();
        assert_eq!(ours, theirs, "pid {}", process.pid);
        let Ok(link) = fs::read_link(format!("/proc/{}/ns/pid", process.pid)) else { continue };
        let Ok(namespaces) = process.namespaces() else { continue };
        let theirs = namespaces.0.get(std::ffi::OsStr::new("pid")).map(|namespace| namespace.identifier);
        assert_eq!(parse_namespace_link(link.as_os_str().as_encoded_bytes()), theirs, "pid {}", process.pid);
        compared += 1;
    }
    println!("{compared} processes compared");
    assert!(compared > 1, "a host has processes");
}

#[test]
fn a_look_lists_what_procfs_lists() {
    let root = ProcRoot::open_host().expect("procfs");
    let listed: HashMap<u32, ()> = all_processes()
        .expect("procfs")
        .flatten()
        .filter_map(|process| Some((u32::try_from(process.pid).ok()?, ())))
        .collect();
    let seen = ProcSnapshot::take(&root, &Registry::default()).expect("a look");
    // Processes come and go between the two listings; those that stayed are in both.
    let again = ProcSnapshot::take(&root, &Registry::default()).expect("a look");
    let stayed: Vec<u32> = again.pids.iter().copied().filter(|pid| listed.contains_key(pid)).collect();
    assert!(stayed.iter().all(|pid| seen.pids.contains(pid)));
    assert!(stayed.contains(&std::process::id()), "the test itself was listed");
}

#[test]
fn a_tree_of_files_is_a_host_too() {
    let tree = tempfile::tempdir().expect("a directory");
    let add = |pid: u32, namespace: u64, cgroup: &str| {
        let directory = tree.path().join(pid.to_string());
        fs::create_dir_all(directory.join("ns")).expect("make");
        std::os::unix::fs::symlink(format!("pid:[{namespace}]"), directory.join("ns/pid")).expect("link");
        let stat = format!("{pid} (x) Z 1 1\nUid:\t0) S 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 {pid}00 0 0\n");
        fs::write(directory.join("stat"), stat).expect("write");
        fs::write(directory.join("status"), format!("Name:\tx\nUid:\t9\t9\t9\t9\nNSpid:\t{pid}\n")).expect("write");
        fs::write(directory.join("cgroup"), cgroup).expect("write");
        fs::write(directory.join("cmdline"), "x\0y\0").expect("write");
        fs::write(directory.join("sessionid"), if pid == 40 { "12" } else { "4294967295" }).expect("write");
    };
    add(1, 7, "0::/\n");
    add(40, 7, "0::/elsewhere\n");
    let root = ProcRoot::open_tree(tree.path()).expect("a tree");
    let mut marks = rustbox_audit::BoxMarks::new("a".parse().expect("an id"), Phase::Abandoned);
    marks.audit_session = Some(12);
    let registry = Registry { boxes: vec![marks], ..Registry::default() };
    let look = ProcSnapshot::take(&root, &registry).expect("a look");
    let [process] = look.candidates.as_slice() else { panic!("one candidate: {look:?}") };
    assert_eq!((process.key.pid, process.life, process.comm.as_str()), (40, Life::Alive, "x) Z 1 1\\nUid:\\t0"));
    assert_eq!((process.uid, process.argv.join(" ")), (Some(9), "x y".to_owned()));
}

#[test]
fn what_is_no_procfs_is_refused() {
    let tree = tempfile::tempdir().expect("a directory");
    assert!(ProcRoot::open_tree(tree.path()).is_err(), "an empty directory shows no host");
    assert!(ProcRoot::open_tree(&tree.path().join("missing")).is_err());
}
