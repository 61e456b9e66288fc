//! What this kernel does with the filter, next to what it does without.
//!
//! Every attack is made by root with all capabilities, so nothing but the filter stops it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "every function of this file is a test or serves one, and skips are named"
)]

#[path = "seccomp_support/harness.rs"]
mod harness;
#[path = "seccomp_support/sources.rs"]
mod sources;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use harness::{Harness, notifications};
use rustbox_core::SeccompMode;
use rustbox_ns::seccomp::{Architecture, Denial, Errno, OnKill, describe, syscall_name};

const ENOSYS: u16 = Errno::Enosys.number();

fn number(name: &str) -> Option<u32> {
    Architecture::NATIVE.syscalls().iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
}

/// Makes system calls under the filter of `mode`, and tells what came of each, in order.
fn try_calls(harness: &Harness, mode: SeccompMode, calls: &[String]) -> Vec<String> {
    let output = harness.under(mode, "./try_calls").args(calls).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), calls.len());
    lines
}

/// All calls that are denied whatever their arguments, with arguments of which the kernel can make nothing.
///
/// Root's own kernel refuses them for another reason (`EFAULT`, `EINVAL`, `EBADF`), so they change
/// nothing without the filter either.
fn denied_always() -> Vec<(String, Denial, u32)> {
    describe()
        .filter(|denial| denial.when == "always")
        .flat_map(|denial| denial.calls.iter().map(move |name| (*name, denial)))
        .filter_map(|(name, denial)| {
            let number = number(name)?;
            // The size of a table makes the two calls that read `-1` as an unknown function answer.
            let arguments = if name == "modify_ldt" { "0,0,0" } else { "-1,-1,-1,-1,-1,-1" };
            Some((format!("{number}:{arguments}"), denial, number))
        })
        .collect()
}

/// Whether the attacks can be made: by root, so that only the filter stops them, and from their sources.
fn can_attack(test: &str) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t0"));
    if !root {
        eprintln!("skipped: {test}: the attacks must be root's, so that only the filter stops them");
        assert!(std::env::var_os("RUSTBOX_CI").is_none_or(|value| value != "1"), "{test} is skipped");
    }
    root && sources::are_here(test)
}

#[test]
fn each_denied_call_returns_the_errno_of_the_policy() {
    if !can_attack("each_denied_call_returns_the_errno_of_the_policy") {
        return;
    }
    let harness = Harness::new();
    let calls = denied_always();
    assert!(calls.len() > 60, "only {} calls", calls.len());
    let texts: Vec<String> = calls.iter().map(|(text, ..)| text.clone()).collect();
    let filtered = try_calls(&harness, SeccompMode::Errno, &texts);
    let control = try_calls(&harness, SeccompMode::Off, &texts);

    let mut absent = Vec::new();
    for (((_, denial, number), filtered), control) in calls.iter().zip(filtered).zip(control) {
        let errno = denial.errno.number();
        let name = syscall_name(i32::try_from(*number).unwrap()).unwrap();
        assert_eq!(filtered, format!("{number} failed {errno}"), "{name}");
        if control == filtered {
            // The kernel was built without the call: then the filter is not what denied it.
            assert_eq!(errno, ENOSYS, "{name} fails with and without the filter: {control}");
            absent.push(name);
        }
    }
    println!("not in this kernel: {}", absent.join(", "));
    for name in ["clone3", "openat2"] {
        assert!(!absent.contains(&name), "every supported kernel has {name}");
    }
}

#[test]
fn each_denied_call_stops_in_the_kill_mode_and_tells_its_number() {
    if !can_attack("each_denied_call_stops_in_the_kill_mode_and_tells_its_number") {
        return;
    }
    let harness = Harness::new();
    let calls = denied_always();
    let output =
        harness.under(SeccompMode::Kill, "./try_calls").args(calls.iter().map(|(text, ..)| text)).output().unwrap();
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let mut told = notifications(&output).into_iter();
    for ((_, denial, number), line) in calls.iter().zip(lines.lines()) {
        match denial.on_kill {
            OnKill::SameError => assert_eq!(line, format!("{number} failed {}", denial.errno.number())),
            OnKill::EndsRun => {
                assert_eq!(line, format!("{number} killed {}", libc::SIGKILL));
                let expected = (Architecture::NATIVE.audit_arch(), i32::try_from(*number).unwrap());
                assert_eq!(told.next(), Some(expected), "{:?}", denial.calls);
            }
        }
    }
    assert_eq!(lines.lines().count(), calls.len());
    assert_eq!(told.next(), None);
}

#[test]
fn a_user_namespace_can_be_made_only_without_the_filter() {
    if !can_attack("a_user_namespace_can_be_made_only_without_the_filter") {
        return;
    }
    let harness = Harness::new();
    let (unshare, clone) = (number("unshare").unwrap(), number("clone").unwrap());
    let calls = [format!("{unshare}:{:#x}", libc::CLONE_NEWUSER), format!("{clone}:{:#x}", libc::CLONE_NEWUSER | 17)];
    let control = try_calls(&harness, SeccompMode::Off, &calls);
    assert_eq!(control[0], format!("{unshare} returned 0"));
    assert!(control[1].starts_with(&format!("{clone} returned ")), "{}", control[1]);
    assert_eq!(
        try_calls(&harness, SeccompMode::Errno, &calls),
        [format!("{unshare} failed 1"), format!("{clone} failed 1")]
    );
}

#[test]
fn a_terminal_can_be_typed_into_only_without_the_filter() {
    if !can_attack("a_terminal_can_be_typed_into_only_without_the_filter") {
        return;
    }
    let harness = Harness::new();
    let calls = ["tiocsti:0".to_owned(), "tiocsti:1".to_owned(), "tiocsti:0xffffffff".to_owned()];
    let control = try_calls(&harness, SeccompMode::Off, &calls);
    assert!(control.iter().all(|line| line.ends_with(" returned 1")), "{control:?}");
    let filtered = try_calls(&harness, SeccompMode::Errno, &calls);
    assert!(filtered.iter().all(|line| line.ends_with(" failed 1")), "{filtered:?}");
}

#[test]
fn sockets_of_odd_families_exist_only_without_the_filter() {
    if !can_attack("sockets_of_odd_families_exist_only_without_the_filter") {
        return;
    }
    let harness = Harness::new();
    let socket = number("socket").unwrap();
    // NETLINK_ROUTE, PACKET: what every kernel with a network has.
    let odd = [format!("{socket}:16,3,0"), format!("{socket}:17,3,0")];
    let control = try_calls(&harness, SeccompMode::Off, &odd);
    assert!(control.iter().all(|line| line.contains(" returned ")), "{control:?}");
    let filtered = try_calls(&harness, SeccompMode::Errno, &odd);
    assert!(filtered.iter().all(|line| line.ends_with(" failed 97")), "{filtered:?}");
    let usual = [format!("{socket}:1,1,0"), format!("{socket}:2,1,0"), format!("{socket}:2,2,17")];
    for line in try_calls(&harness, SeccompMode::Kill, &usual) {
        assert!(line.contains(" returned "), "{line}");
    }
}

#[test]
fn a_set_id_file_can_be_made_only_without_the_filter() {
    if !can_attack("a_set_id_file_can_be_made_only_without_the_filter") {
        return;
    }
    let harness = Harness::new();
    for (mode, succeeds, bits) in [(SeccompMode::Off, true, 0o4755), (SeccompMode::Errno, false, 0o700)] {
        let file = harness.path("program");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o700)).unwrap();
        let status = harness.under(mode, "chmod").args(["4755", "program"]).status().unwrap();
        assert_eq!(status.success(), succeeds);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, bits);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_i386_abi_answers_only_without_the_filter() {
    const I386: u32 = 0x4000_0003;
    const I386_GETPID: i32 = 20;
    if !can_attack("the_i386_abi_answers_only_without_the_filter") {
        return;
    }
    let harness = Harness::new();
    let call = [format!("int80:{I386_GETPID}")];
    let control = try_calls(&harness, SeccompMode::Off, &call);
    if !control[0].contains(" returned ") {
        eprintln!(
            "skipped: the_i386_abi_answers_only_without_the_filter: this kernel has no i386 ABI ({})",
            control[0]
        );
        return;
    }
    assert_eq!(try_calls(&harness, SeccompMode::Errno, &call), [format!("int80:{I386_GETPID} failed {ENOSYS}")]);
    let output = harness.under(SeccompMode::Kill, "./try_calls").args(&call).output().unwrap();
    assert_eq!(notifications(&output), [(I386, I386_GETPID)]);
}
