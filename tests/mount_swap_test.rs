//! A payload swaps a directory with a symbolic link while other boxes are made over it: the way to their mount point leads
//! through that name. Nothing is made or mounted where the link leads. runc CVE-2021-30465, Kubernetes' subPath.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use rustbox_tests::{Lab, how_often};

/// Every name below a directory with its inode, mode and time of change.
fn tree(directory: &Path) -> Vec<(String, u64, u32, i64, i64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("list") {
        let path = entry.expect("an entry").path();
        let meta = fs::symlink_metadata(&path).expect("look");
        found.push((path.display().to_string(), meta.ino(), meta.mode(), meta.mtime(), meta.mtime_nsec()));
        if meta.is_dir() {
            found.extend(tree(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn nothing_is_made_where_a_link_leads_that_was_a_directory_a_moment_ago() {
    let lab = Lab::open("swap");
    let (place, canaries) = (lab.path().join("place"), lab.path().join("canaries"));
    for directory in [&place, &canaries] {
        fs::create_dir(directory).expect("a directory");
    }
    for directory in [lab.path(), &place] {
        fs::set_permissions(directory, PermissionsExt::from_mode(0o777)).expect("open it");
    }
    // Where the link leads there is a mount point of the same name, which would serve as well.
    let own = lab.path().join("own");
    for directory in [&canaries.join("inner"), &place.join("swapped"), &place.join("swapped/inner"), &own] {
        fs::create_dir(directory).expect("a directory");
    }
    fs::write(own.join("mine"), "MINE\n").expect("a file");
    fs::write(canaries.join("inner/file"), "CANARY\n").expect("a canary");
    let before = (tree(&canaries), fs::metadata(&canaries).expect("look").mtime_nsec());
    let bind = format!("{}:/place", place.display());
    let over = format!("{}:/place/swapped/inner", own.display());
    let leads = canaries.display().to_string();
    let attacker = lab.a_box().attack("contain_mount_swap", &["/place", &leads, "stay"]).flags(["--bind", &bind]);
    let mut attacker = attacker.stdin(Stdio::piped()).start();
    attacker.await_output("armed:");
    let (mut made, mut refused) = (0, 0);
    for _ in 0..how_often("RUSTBOX_SWAPS", 200) {
        let victim = lab.a_box().argv(["/bin/cat", "/place/swapped/inner/mine"]).flags(["--quiet"]);
        let ended = victim.flags(["--ro-bind", &bind, "--ro-bind", &over]).finish();
        assert!(ended.left().is_empty(), "{ended}");
        ended.assert_contained();
        if ended.code() == Some(0) {
            ended.assert_said("MINE");
            made += 1;
        } else {
            refused += 1;
        }
        assert_eq!((tree(&canaries), fs::metadata(&canaries).expect("look").mtime_nsec()), before, "{ended}");
    }
    eprintln!("mount_swap: {made} boxes made over a name that is swapped, {refused} refused, 0 where the link leads");
    assert!(made > 0 && refused > 0, "the swap was never met: {made} made, {refused} refused");
    // The control: whoever trusts the name makes it where the link leads.
    let text = format!(
        "for i in $(seq 2000); do mkdir -p {0}/swapped/control-$i; [ -e {1}/control-$i ] && exit 0; done; exit 1",
        place.display(),
        canaries.display()
    );
    let control = Command::new("/bin/sh").args(["-c", &text]).stderr(Stdio::null()).status().expect("a shell");
    assert!(control.success(), "the link was never followed: the attack is none");
    drop(attacker.take_stdin());
    attacker.finish().assert_contained();
}
