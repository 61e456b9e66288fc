//! The payload's credentials: a uid and gid of its own, nothing else, and no way back. QS03, D33.
#![expect(clippy::panic, reason = "a test fails by panicking, in its helpers as well")]

use std::collections::BTreeSet;
use std::process::Stdio;

use rustbox_tests::{Lab, Pen, scan};

fn line<'text>(said: &'text str, key: &str) -> &'text str {
    let found = said.lines().find_map(|l| l.split_once("is: ").and_then(|(_, l)| l.strip_prefix(key)));
    found.unwrap_or_else(|| panic!("no {key} in {said}")).trim()
}

#[test]
fn every_power_is_gone_and_stays_gone() {
    let lab = Lab::open("credentials");
    for flags in [&[][..], &["--permissive", "--seccomp", "off"][..]] {
        let ended = lab.a_box().attack("contain_credentials", &[]).flags(flags).finish();
        ended.assert_contained().assert_verdict("OK", "normal_exit", 0).assert_said("contained");
        let said = &ended.stdout;
        let uid = ended.report().uid.expect("the report names the uid");
        assert!((70_000..=70_999).contains(&uid), "{ended}");
        for key in ["Uid:", "Gid:"] {
            let four: BTreeSet<_> = line(said, key).split_ascii_whitespace().map(str::to_owned).collect();
            assert_eq!(four, BTreeSet::from([uid.to_string()]), "{key} {ended}");
        }
        assert_eq!(line(said, "Groups:"), "", "{ended}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(line(said, set), "0000000000000000", "{set} {ended}");
        }
        assert_eq!(line(said, "NoNewPrivs:"), "1", "{ended}");
        for (attempt, errno) in [
            ("setresuid(0)", "EPERM"),
            ("setuid(0)", "EPERM"),
            ("setresgid(0)", "EPERM"),
            ("setgroups(0)", "EPERM"),
            ("capset(all)", "EPERM"),
            ("PR_SET_NO_NEW_PRIVS(0)", "EINVAL"),
            ("setuid(another uid of the range)", "EPERM"),
        ] {
            ended.assert_said(&format!("{attempt} = {errno}"));
        }
    }
    Pen::of("contain_credentials", &[]).as_root().run().assert_escaped();
}

#[test]
fn a_file_with_setuid_bits_changes_nothing() {
    let lab = Lab::open("setuid-file");
    let copy = lab.path().join("copy");
    std::fs::copy(rustbox_tests::payload("contain_setuid_bits"), &copy).expect("copy");
    std::fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o6755)).expect("chmod");
    let bind = format!("{}:/copy", copy.display());
    for flags in [&[][..], &["--permissive", "--seccomp", "off"][..]] {
        let ended =
            lab.a_box().attack("contain_setuid_bits", &["/copy"]).flags(["--ro-bind", &bind]).flags(flags).finish();
        ended.assert_contained().assert_verdict("OK", "normal_exit", 0).assert_said("no change of uid or gid");
    }
}

#[test]
fn boxes_at_the_same_time_have_different_uids_and_give_them_back() {
    let lab = Lab::open("leases");
    let start = |_| lab.a_box().attack("contain_spawn_race", &["fork"]).stdin(Stdio::piped()).start();
    let mut running: Vec<_> = (0..16).map(start).collect();
    running.iter().for_each(|r| r.await_output("armed:"));
    let mut uids = BTreeSet::new();
    let host = scan();
    for one in &running {
        let name = format!("rustbox-{}", one.box_id());
        let own: BTreeSet<u32> = host.iter().filter(|p| p.is_in_cgroup(&name) && p.uid != 0).map(|p| p.uid).collect();
        assert_eq!(own.len(), 1, "one uid for all processes of {name}: {own:?}");
        assert!(uids.insert(own.first().copied()), "a uid is used by two boxes: {own:?}");
    }
    for one in &mut running {
        drop(one.take_stdin());
    }
    for one in running {
        one.finish().assert_contained();
    }
    // S6 of the threat model: after the release nothing on the host carries such a uid.
    let carrying: Vec<_> = scan().into_iter().filter(|p| uids.contains(&Some(p.uid))).collect();
    assert!(carrying.is_empty(), "{carrying:?}");
}

#[test]
fn what_the_payload_writes_through_a_writable_bind_belongs_to_the_caller() {
    // D36.
    let lab = Lab::open("idmap");
    let shared = lab.path().join("shared");
    std::fs::create_dir(&shared).expect("mkdir");
    let bind = format!("{}:/shared", shared.display());
    let ended = lab.a_box().argv(["/bin/sh", "-c", "echo hello > /shared/out"]).flags(["--bind", &bind]).finish();
    ended.assert_contained();
    if ended.report().status.as_str() == "OK" {
        let metadata = std::fs::metadata(shared.join("out")).expect("the file");
        let owner = (std::os::unix::fs::MetadataExt::uid(&metadata), std::os::unix::fs::MetadataExt::gid(&metadata));
        assert_eq!(owner, (0, 0), "{ended}");
    } else {
        // Refused where the file system cannot map ids: with the reason.
        ended.assert_verdict("IE", "ie_setup", 125);
        let failure = ended.report().setup_failure.as_ref().expect("a setup failure");
        assert!(failure.detail.contains("shared"), "{failure:?}");
    }
}
