//! What is typed wrong is refused with 125, by name, before anything is created.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::sandbox::Sandbox;

/// The flag that must be named, and the arguments of `rustbox run` before `-- true`.
const BAD: &[(&str, &[&str])] = &[
    ("--mem", &["--mem", "64X"]),
    ("--mem", &["--mem", "-1"]),
    ("--mem", &["--mem", "1K"]),
    ("--mem", &["--mem", ""]),
    ("--mem", &["--mem=64M", "--mem=65M"]),
    ("--pids", &["--pids", "0"]),
    ("--pids", &["--pids", "4194304"]),
    ("--pids", &["--pids", "-1"]),
    ("--time", &["--time", "0"]),
    ("--time", &["--time", "1e9"]),
    ("--wall-time", &["--wall-time", "0"]),
    ("--wall-time", &["--wall-time", "NaN"]),
    ("--extra-time", &["--extra-time", "x"]),
    ("--cpus", &["--cpus", "0"]),
    ("--cpuset", &["--cpuset", "2-1"]),
    ("--fsize", &["--fsize", "9999999T"]),
    ("--open-files", &["--open-files", "2"]),
    ("--stack", &["--stack", "x"]),
    ("--core", &["--core", "x"]),
    ("--address-space", &["--address-space", "x"]),
    ("--output-limit", &["--output-limit", "x"]),
    ("--tmp-size", &["--tmp-size", "1"]),
    ("--box-size", &["--box-size", "4095"]),
    ("--bind", &["--bind", "relative"]),
    ("--bind", &["--bind", "/a:/b/../c"]),
    ("--ro-bind", &["--ro-bind", "/a:/"]),
    ("--tmpfs", &["--tmpfs", "relative"]),
    ("--tmpfs", &["--tmpfs", "/x:1X"]),
    ("--rootfs", &["--rootfs", "relative"]),
    ("--stdin", &["--stdin", ""]),
    ("--stdout", &["--stdout", ""]),
    ("--stderr", &["--stderr", ""]),
    ("--pass-fd", &["--pass-fd", "2"]),
    ("--pass-fd", &["--pass-fd", "-1"]),
    ("--chdir", &["--chdir", "relative"]),
    ("--hostname", &["--hostname", "a b"]),
    ("--env", &["--env", "=x"]),
    ("--env", &["--env", ""]),
    ("--net", &["--net", "bridge"]),
    ("--seccomp", &["--seccomp", "maybe"]),
    ("--no-seccomp", &["--no-seccomp", "--seccomp", "kill"]),
    ("--enable-syscall-filtering", &["--enable-syscall-filtering", "--no-seccomp"]),
    ("--strict", &["--strict", "--permissive"]),
    ("--permissive", &["--strict", "--permissive"]),
    ("--box-id", &["--box-id", "../../etc"]),
    ("--box-id", &["--box-id", "UPPER"]),
    ("--box-id", &["--box-id", "-x"]),
    ("--wait-for-box", &["--wait-for-box=soon"]),
    ("--wait", &["--wait", "some"]),
    ("--json", &["--json=no/such/directory/file"]),
    ("--json", &["--json=/dev/null"]),
    ("--meta", &["--meta", "no/such/directory/file"]),
    ("--meta", &["--meta", "/dev/null"]),
    ("--status-fd", &["--status-fd", "0"]),
    ("--status-fd", &["--status-fd", "999"]),
    ("--code", &["--code", "true"]),
    ("--config", &["--config", "no/such/file"]),
    ("--state-dir", &["--state-dir", ""]),
    ("--runtime-dir", &["--runtime-dir", ""]),
    ("--cgroup-root", &["--cgroup-root", ""]),
    ("--cgroup-backend", &["--cgroup-backend", "v3"]),
    ("--log", &["--log", "loud"]),
    ("--quiet", &["--quiet=yes"]),
    ("--dry-run", &["--dry-run=yes"]),
];

// D15: misuse is 125, whatever the parser of arguments thinks of it.
#[test]
fn bad_input_of_every_flag_is_125_names_the_flag_and_creates_nothing() {
    for (flag, args) in BAD {
        let sandbox = Sandbox::new();
        let said = sandbox.rustbox(["run"].iter().chain(*args).chain(&["--", "true"]));
        assert_eq!(said.code, Some(125), "{args:?}: {said:?}");
        // A configuration file is named by its path, which says more than its flag.
        let named = if *flag == "--config" { "no/such/file" } else { flag };
        assert!(said.stderr.contains(named), "{args:?} does not name {flag}: {}", said.stderr);
        assert_eq!(said.stdout, "", "{args:?}");
        assert_eq!(sandbox.names(), [""; 0], "{args:?} created something");
    }
}

#[test]
fn no_flag_of_run_is_missing_from_the_table_of_bad_input() {
    let help = Sandbox::new().rustbox(["run", "--help"]).stdout;
    // Flags stand at the seventh column; wrapped text that mentions one is indented further.
    let documented: BTreeSet<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("      ").filter(|rest| rest.starts_with("--")))
        .filter_map(|line| line.split([' ', ',', '[', '=']).next())
        .collect();
    let tested: BTreeSet<&str> = BAD.iter().map(|(flag, _)| *flag).collect();
    assert_eq!(documented, tested);
    assert!(documented.len() > 40, "{documented:?}");
}

#[test]
fn a_mistyped_flag_is_an_error_and_not_the_program() {
    let sandbox = Sandbox::new();
    for args in [&["run", "--mme", "64M", "true"][..], &["run", "-x", "true"], &["--mme", "run", "true"]] {
        let said = sandbox.rustbox(args);
        assert_eq!(said.code, Some(125), "{said:?}");
        assert!(said.stderr.contains(args.iter().find(|a| a.starts_with('-')).unwrap()), "{said:?}");
    }
    assert_eq!(sandbox.names(), [""; 0]);
}

#[test]
fn a_run_of_nothing_is_misuse() {
    let sandbox = Sandbox::new();
    for args in [&["run"][..], &["run", "--"], &["run", ""], &["run", "--json"]] {
        let said = sandbox.rustbox(args);
        assert_eq!(said.code, Some(125), "{said:?}");
        assert!(said.stderr.contains("name a program to run"), "{said:?}");
    }
}

#[test]
fn a_command_that_does_not_exist_is_misuse() {
    let sandbox = Sandbox::new();
    for args in [&["no-such-command"][..], &[], &["config"], &["kill"], &["kill", "a", "b"]] {
        assert_eq!(sandbox.rustbox(args).code, Some(125), "{args:?}");
    }
}

#[test]
fn help_and_version_are_no_errors_and_go_to_stdout() {
    let sandbox = Sandbox::new();
    for args in [&["--help"][..], &["--version"], &["run", "--help"], &["help", "kill"], &["check", "--help"]] {
        let said = sandbox.rustbox(args);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(!said.stdout.is_empty());
    }
}

#[test]
fn what_was_typed_cannot_write_to_the_terminal_in_an_error() {
    let sandbox = Sandbox::new();
    let hostile = OsStr::from_bytes(b"\x1b]0;x\x07\xff\xc2\x9b");
    for flag in ["--mem", "--net", "--env", "--box-id", "--rootfs", "--meta", "--config"] {
        let said = sandbox.rustbox([OsStr::new("run"), OsStr::new(flag), hostile, OsStr::new("true")]);
        let harmless = |c: char| c == '\n' || !c.is_control();
        assert!(said.stderr.chars().all(harmless), "{flag}: {:?}", said.stderr);
    }
}

// D13: only a run can be tried without being done; nothing is killed by somebody who wanted to look.
#[test]
fn a_dry_run_of_anything_but_run_is_refused() {
    let sandbox = Sandbox::new();
    for args in [&["--dry-run", "kill", "a"][..], &["cleanup", "--all", "--dry-run"], &["--dry-run", "ps"]] {
        let said = sandbox.rustbox(args);
        assert_eq!(said.code, Some(125), "{said:?}");
        assert!(said.stderr.contains("--dry-run"), "{said:?}");
    }
    assert_eq!(sandbox.names(), [""; 0]);
}

// D31.
#[test]
fn the_second_name_is_the_same_program() {
    let version = std::process::Command::new(env!("CARGO_BIN_EXE_rustbox-cli")).arg("--version").output().unwrap();
    assert_eq!(version.stdout, Sandbox::new().rustbox(["--version"]).stdout.as_bytes());
    let misuse = std::process::Command::new(env!("CARGO_BIN_EXE_rustbox-cli")).arg("--no-such").output().unwrap();
    assert_eq!(misuse.status.code(), Some(125));
}
