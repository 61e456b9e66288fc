//! Ordinary compilers and runtimes under the filter, in both modes.
//!
//! In the kill mode a single notification fails the test: it would have ended the run.

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

use std::env;
use std::path::Path;
use std::process::Command;

use harness::{Harness, notifications};
use rustbox_core::SeccompMode;

/// Runs a shell text under no filter, then under each, and wants the same output every time.
///
/// Without the program in `needs` the case is skipped by name, in CI it fails.
fn works(name: &str, needs: &str, text: &str, says: &str) {
    if !sources::are_here(name) {
        return;
    }
    let found = env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|path| path.join(needs).is_file());
    if !found && !Path::new(needs).is_file() {
        eprintln!("skipped: {name}: no {needs}");
        assert!(env::var_os("RUSTBOX_CI").is_none_or(|value| value != "1"), "{name} is skipped: no {needs}");
        return;
    }
    let harness = Harness::new();
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seccomp_support/programs");
    for mode in [SeccompMode::Off, SeccompMode::Errno, SeccompMode::Kill] {
        let mut command: Command = harness.under(mode, "sh");
        let output = command.args(["-ec", text]).env("P", &programs).output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{mode:?}: {}\n{stdout}{stderr}", output.status);
        assert_eq!(stdout, says, "{mode:?}: {stderr}");
        assert_eq!(notifications(&output), [], "{mode:?}");
    }
}

#[test]
fn gcc_works() {
    works("gcc_works", "gcc", r#"gcc "$P/hello.c" -o c && ./c"#, "hello from C\n");
}

#[test]
fn gxx_works_with_threads() {
    works("gxx_works_with_threads", "g++", r#"g++ -pthread "$P/hello.cpp" -o cpp && ./cpp"#, "hello from C++ 42\n");
}

#[test]
fn sanitizers_work_without_the_leak_check() {
    let text = r#"g++ -pthread -fsanitize=address "$P/hello.cpp" -o asan && ASAN_OPTIONS=detect_leaks=0 ./asan
        g++ -pthread -fsanitize=thread "$P/hello.cpp" -o tsan && ./tsan"#;
    works("sanitizers_work_without_the_leak_check", "g++", text, "hello from C++ 42\nhello from C++ 42\n");
}

#[test]
fn rustc_works_with_threads_and_children() {
    let text = r#"rustc "$P/hello.rs" -o rs && ./rs"#;
    works("rustc_works_with_threads_and_children", "rustc", text, "hello from Rust 42 hi\n");
}

#[test]
fn python_works_with_threads_processes_and_sockets() {
    let text = r#"/usr/bin/python3 "$P/hello.py""#;
    works("python_works_with_threads_processes_and_sockets", "/usr/bin/python3", text, "hello from Python 1\n");
}

#[test]
fn node_works_with_workers_children_and_http() {
    works("node_works_with_workers_children_and_http", "node", r#"node "$P/hello.js""#, "hello from node 42 hi ok\n");
}

#[test]
fn java_works_with_threads_children_and_sockets() {
    let text = r#"java "$P/Hello.java""#;
    works("java_works_with_threads_children_and_sockets", "java", text, "hello from Java 42 hi 7\n");
}

#[test]
fn go_works_with_goroutines_children_and_sockets() {
    let text = r#"GOCACHE="$PWD/cache" GOFLAGS=-mod=mod go build -o go-hello "$P/hello.go" && ./go-hello"#;
    works("go_works_with_goroutines_children_and_sockets", "go", text, "hello from Go 42 x hi\n");
}

#[test]
fn perl_works() {
    works("perl_works", "perl", r#"perl "$P/hello.pl""#, "hello from Perl 3 hi\n");
}

#[test]
fn a_shell_pipeline_and_tar_work() {
    works("a_shell_pipeline_and_tar_work", "sh", r#"sh "$P/hello.sh""#, "A\nfile\nhello from the shell\n");
}
