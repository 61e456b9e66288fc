//! Rustbox started badly works, or refuses with a clear error; it never hangs and never leaves anything.

use std::process::{Command, Stdio};

use rustbox_tests::{Canary, EndedBox, Lab, residue};

/// Runs a payload that leaves an orphan behind, through these words in front of rustbox.
fn started_through(lab: &Lab, wrapper: &[&str]) -> EndedBox {
    let command = lab.a_box().attack("contain_double_fork", &[]).wrapped(wrapper);
    let canary = Canary::start(command.box_id());
    let ended = command.finish();
    canary.assert_unharmed();
    assert!(ended.left().is_empty(), "{:#?} {ended}", ended.left());
    ended
}

/// It worked, or it said why not.
fn works_or_refuses(ended: &EndedBox) {
    match ended.try_report() {
        Some(report) if report.status.as_str() == "OK" => {
            ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
        }
        Some(report) => {
            assert_eq!((ended.code(), report.status.as_str()), (Some(125), "IE"), "{ended}");
            assert!(report.setup_failure.is_some(), "refused without naming the step: {ended}");
        }
        None => {
            assert!(matches!(ended.code(), Some(122 | 125)), "{ended}");
            assert!(ended.stderr.contains("rustbox"), "refused without a word: {ended}");
        }
    }
}

fn works(ended: &EndedBox) {
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0).assert_said("armed:");
}

#[test]
fn with_sigchld_ignored() {
    let lab = Lab::open("sigchld");
    works(&started_through(&lab, &["/usr/bin/env", "--ignore-signal=CHLD"]));
    works(&started_through(&lab, &["/usr/bin/perl", "-e", "$SIG{CHLD}='IGNORE'; exec @ARGV", "--"]));
}

#[test]
fn with_every_signal_ignored_or_blocked() {
    let lab = Lab::open("signals");
    works(&started_through(&lab, &["/usr/bin/env", "--ignore-signal"]));
    works(&started_through(&lab, &["/usr/bin/env", "--block-signal"]));
    works(&started_through(&lab, &["/usr/bin/env", "--ignore-signal", "--block-signal"]));
    // The payload starts with a clean slate all the same.
    let ended = lab
        .a_box()
        .attack("contain_credentials", &[])
        .wrapped(["/usr/bin/env", "--ignore-signal", "--block-signal"])
        .finish();
    ended.assert_contained().assert_said("SigBlk:\t0000000000000000").assert_said("SigIgn:\t0000000000001000");
    // Its time limit holds, too.
    let wrapped = ["/usr/bin/env", "--block-signal"];
    let ended = lab.a_box().attack("contain_wall_sleep", &[]).flags(["--wall-time", "200ms"]).wrapped(wrapped).finish();
    ended.assert_contained().assert_verdict("TLE", "tle_wall", 124);
}

#[test]
fn with_stdin_stdout_or_stderr_closed() {
    let lab = Lab::open("closed");
    for closing in ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        let text = format!("exec \"$@\" {closing}");
        let ended = started_through(&lab, &["/bin/sh", "-c", &text, "sh"]);
        assert!(ended.code().is_some(), "{closing}: {ended}");
        if closing == "<&-" {
            works(&ended);
        } else if closing == "2>&-" {
            ended.assert_contained().assert_said("armed:");
        } else {
            ended.assert_contained();
        }
        // Whatever the box opened must not have become somebody's standard output.
        assert!(!ended.stdout.contains("schema"), "{closing}: {ended}");
    }
}

#[test]
fn with_a_low_limit_on_open_files() {
    let lab = Lab::open("nofile");
    for files in ["20", "12", "8", "5", "4"] {
        let text = format!("ulimit -n {files} && exec \"$@\"");
        works_or_refuses(&started_through(&lab, &["/bin/sh", "-c", &text, "sh"]));
    }
    works(&started_through(&lab, &["/bin/sh", "-c", "ulimit -n 64 && exec \"$@\"", "sh"]));
}

#[test]
fn with_an_odd_umask() {
    let lab = Lab::open("umask");
    for mask in ["0", "0777", "0077"] {
        let text = format!("umask {mask}; exec \"$@\"");
        works(&started_through(&lab, &["/bin/sh", "-c", &text, "sh"]));
    }
    // State is private whatever the umask.
    let running =
        lab.a_box().attack("contain_wall_sleep", &[]).wrapped(["/bin/sh", "-c", "umask 0; exec \"$@\"", "sh"]).start();
    running.await_output("armed:");
    let record = lab.state_dir().join("boxes").join(running.box_id());
    let mode = |path: &std::path::Path| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).expect("metadata").permissions())
    };
    assert_eq!(mode(&record) & 0o077, 0, "{:o}", mode(&record));
    assert_eq!(mode(&record.join("lock")) & 0o022, 0, "{:o}", mode(&record.join("lock")));
    running.signal(rustix::process::Signal::TERM);
    running.finish().assert_contained();
}

#[test]
fn from_a_deleted_directory() {
    let lab = Lab::open("cwd");
    let directory = lab.path().join("gone");
    let text = format!("mkdir {0} && cd {0} && rmdir {0} && exec \"$@\"", directory.display());
    works(&started_through(&lab, &["/bin/sh", "-c", &text, "sh"]));
}

#[test]
fn with_an_empty_environment() {
    let lab = Lab::open("env");
    works(&started_through(&lab, &["/usr/bin/env", "-i"]));
}

#[test]
fn with_low_limits_of_other_kinds() {
    let lab = Lab::open("limits");
    for limit in ["ulimit -c unlimited", "ulimit -s 256", "ulimit -l 0", "ulimit -t 5"] {
        let text = format!("{limit} && exec \"$@\"");
        let ended = started_through(&lab, &["/bin/sh", "-c", &text, "sh"]);
        assert!(ended.code().is_some(), "{limit} ended rustbox by a signal: {ended}");
        works_or_refuses(&ended);
    }
}

#[test]
fn with_no_file_to_be_written() {
    // RLIMIT_FSIZE of 0: the record cannot be written, and the kernel sends SIGXFSZ. What is said goes to a pipe, since
    // a file would not take it either.
    let lab = Lab::open("fsize");
    let text = "(ulimit -f 0; exec \"$@\") 2>&1 | /bin/cat >&2; exit ${PIPESTATUS[0]}";
    let ended = started_through(&lab, &["/bin/bash", "-c", text, "bash"]);
    works_or_refuses(&ended);
    assert!(matches!(ended.code(), Some(0 | 125)), "{ended}");
}

#[test]
fn from_threads_of_a_program_that_ends_them() {
    // PDEATHSIG fires when the *thread* that started a process ends. The box must not hang on it.
    let lab = Lab::open("threads");
    let running: Vec<_> = std::thread::scope(|scope| {
        let start =
            || scope.spawn(|| lab.a_box().attack("contain_wall_sleep", &[]).flags(["--wall-time", "500ms"]).start());
        let threads: Vec<_> = (0..4).map(|_| start()).collect();
        threads.into_iter().map(|t| t.join().expect("a thread")).collect()
    });
    for one in running {
        one.finish().assert_contained().assert_verdict("TLE", "tle_wall", 124);
    }
}

#[test]
fn under_a_subreaper() {
    let lab = Lab::open("subreaper");
    let text = "use strict; my $SET_CHILD_SUBREAPER = 36; syscall(157, $SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 or die $!; \
                my $pid = fork; if (!$pid) { exec @ARGV } \
                my $code; while ((my $done = wait) > 0) { $code = $? if $done == $pid } exit($code >> 8)";
    works(&started_through(&lab, &["/usr/bin/perl", "-e", text, "--"]));
    // With getppid() == 1 as a liveness check a box would die, or never die, here: kill the supervisor.
    let words = lab.a_box().attack("contain_pdeathsig_cleared", &["stay"]);
    let box_id = words.box_id().to_owned();
    let text = "syscall(157, 36, 1, 0, 0, 0); my $pid = fork; if (!$pid) { exec @ARGV } \
                my $line = <STDIN>; kill 9, $pid; while (wait > 0) {} exit 0";
    let mut running = words.wrapped(["/usr/bin/perl", "-e", text, "--"]).stdin(Stdio::piped()).start();
    running.await_output("armed:");
    drop(running.take_stdin());
    let ended = running.finish();
    let left = rustbox_tests::wait_clean(&box_id, &lab.state_dir());
    assert!(left.is_empty(), "{left:#?} {ended}");
}

#[test]
fn with_state_that_others_could_have_made() {
    // A privileged program must not use a predictable path below a world-writable directory.
    let lab = Lab::open("state");
    let victim = lab.path().join("victim");
    std::fs::create_dir(&victim).expect("mkdir");
    let link = lab.path().join("link");
    std::os::unix::fs::symlink(&victim, &link).expect("symlink");
    let theirs = lab.path().join("theirs");
    std::fs::create_dir(&theirs).expect("mkdir");
    std::os::unix::fs::chown(&theirs, Some(65_534), Some(65_534)).expect("chown");
    let open = lab.path().join("open");
    std::fs::create_dir(&open).expect("mkdir");
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    for state in [link, theirs, open] {
        let output = Command::new(rustbox_tests::rustbox())
            .arg("--state-dir")
            .arg(&state)
            .args(["run", "--box-id", "hostile-state", "--", "/bin/true"])
            .stdin(Stdio::null())
            .output()
            .expect("rustbox");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(122 | 125)), "{}: {} {said}", state.display(), output.status);
        assert!(std::fs::read_dir(&victim).expect("victim").next().is_none(), "written through a symbolic link");
        assert!(residue("hostile-state", &state).is_empty(), "{:?}", residue("hostile-state", &state));
    }
}

/// Mounts of the host in which a start must not take noticeably longer: what is read of them is bounded.
const MOUNTS: usize = 5000;

#[test]
fn with_thousands_of_mounts_on_the_host() {
    let lab = Lab::open("mounts");
    let place = lab.path().join("mounts");
    std::fs::create_dir(&place).expect("a directory");
    // Each bind of the place into itself doubles what is there; in a mount namespace that ends with the command.
    let text = format!(
        "mount -t tmpfs none {0} && for i in 1 2 3 4 5 6 7 8 9 10 11 12 13; do \
         mkdir {0}/$i && mount --rbind {0} {0}/$i || exit 99; done; wc -l < /proc/self/mountinfo >&2; exec \"$@\"",
        place.display()
    );
    let wrapper = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", &text, "sh"];
    let count = |text: &str| text.lines().next().and_then(|line| line.trim().parse::<usize>().ok());
    let command = lab.a_box().argv(["/bin/sh", "-c", "wc -l < /proc/self/mountinfo"]).wrapped(wrapper);
    let ended = command.finish();
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
    assert!(count(&ended.stderr).is_some_and(|mounts| mounts > MOUNTS), "{ended}");
    assert!(count(&ended.stdout).is_some_and(|mounts| mounts < 100), "the box sees the host's mounts: {ended}");
    let report = ended.report();
    let setup = ended.elapsed.saturating_sub(std::time::Duration::from_nanos(report.wall_ns.expect("measured")));
    eprintln!("a start among {:?} mounts takes {setup:?}, the mounting included", count(&ended.stderr));
    works(&started_through(&lab, &wrapper));
    // The whole-host view is bounded, too.
    let mut audit = Command::new(wrapper[0]);
    audit.args(&wrapper[1..]).arg(rustbox_tests::rustbox()).arg("--state-dir").arg(lab.state_dir()).arg("audit");
    let output = audit.stdin(Stdio::null()).output().expect("an audit");
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
}
