//! Cleanups that fail on a real host, for real reasons: each is told by its word, none is called a success, and all are
//! undone when the reason is. C04, C13, C14; those that need mounts are with the tests of `rustbox health`.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::ptrace;
use nix::unistd::Pid;
use rustbox_tests::{CgroupLayout, Lab, SeenProcess, scan, skip_unless, wait_clean};

/// For what takes seconds at most on a busy host.
const LIMIT: Duration = Duration::from_secs(20);

/// Seizes a process in a thread of its own, which does not wait for it: when it dies, it stays a zombie until that thread ends.
struct Hold {
    release: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Hold {
    fn of(pid: u32) -> Self {
        let (release, held) = mpsc::channel::<()>();
        let (seized, done) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
            seized.send(ptrace::seize(pid, ptrace::Options::empty())).expect("tell");
            // Its end is what is told by an error, too.
            let _released = held.recv();
        });
        done.recv().expect("the holder").expect("seize a payload");
        Self { release, thread }
    }

    fn release(self) {
        drop(self.release);
        self.thread.join().expect("the holder ends");
    }
}

fn payload_of(box_id: &str) -> Option<SeenProcess> {
    let name = format!("rustbox-{box_id}");
    scan().into_iter().find(|process| process.is_in_cgroup(&name) && process.comm == "sleep")
}

// A process that is dead and cannot be reaped, since a debugger holds it: the init of its PID namespace cannot end either.
#[test]
fn a_zombie_that_a_debugger_holds_is_told_and_collected_when_it_lets_go() {
    let lab = Lab::open("zombie");
    let running = lab.a_box().flags(["--wall-time", "1s"]).argv(["/bin/sleep", "600"]).start();
    let box_id = running.box_id().to_owned();
    let pid = rustbox_tests::wait_until(std::time::Duration::from_secs(10), || payload_of(&box_id));
    let hold = Hold::of(pid.expect("the payload").pid);
    let ended = running.finish();
    let report = ended.try_report().expect("a report");
    assert_eq!((ended.code(), report.status.as_str()), (Some(121), "CV"), "{ended}");
    assert!(ended.stderr.contains("containment_violation"), "{ended}");
    let findings: Vec<&str> = report.containment.findings.iter().map(|finding| finding.what.as_str()).collect();
    assert!(findings.iter().any(|what| what.starts_with("process_reap_failed: ")), "{findings:?}");
    let doubts = &report.containment.doubts;
    assert!(doubts.iter().any(|doubt| doubt.starts_with("cleanup_timeout: ")), "{doubts:?}");
    // The worker takes no more work, and the box is kept for somebody to look at.
    let code = lab.rustbox().args(["run", "--", "/bin/true"]).status().expect("start rustbox").code();
    assert_eq!(code, Some(120));
    assert!(lab.state_dir().join("boxes").join(&box_id).exists());
    hold.release();
    // The first may come before the kernel has let everything go.
    let recovered = rustbox_tests::wait_until(std::time::Duration::from_secs(20), || {
        let recovered = lab.rustbox().args(["health", "--recover"]).output().expect("start rustbox");
        (wait_clean(&box_id, &lab.state_dir()).is_empty()).then_some(recovered)
    });
    assert!(recovered.is_some(), "{:?}", wait_clean(&box_id, &lab.state_dir()));
    assert!(CgroupLayout::read().directories(&format!("rustbox-{box_id}")).is_empty());
    let check = lab.rustbox().args(["health", "--check"]).status().expect("start rustbox").code();
    assert_eq!(check, Some(1), "recovery does not lift it");
}

/// A v1 freezer cgroup in which nothing dies before it is thawed.
struct Ice(PathBuf);

impl Ice {
    /// Freezes a process; none where the host has no v1 freezer.
    fn around(pid: u32) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup/freezer");
        if !root.join("cgroup.procs").exists() {
            return None;
        }
        let ice = Self(root.join(format!("ice-{pid}")));
        std::fs::create_dir(&ice.0).expect("a freezer cgroup");
        std::fs::write(ice.0.join("cgroup.procs"), pid.to_string()).expect("move into it");
        std::fs::write(ice.0.join("freezer.state"), "FROZEN").expect("freeze");
        let is_frozen = || std::fs::read_to_string(ice.0.join("freezer.state")).is_ok_and(|state| state == "FROZEN\n");
        let frozen = rustbox_tests::wait_until(LIMIT, || is_frozen().then_some(()));
        frozen.expect("it freezes");
        Some(ice)
    }
}

impl Drop for Ice {
    fn drop(&mut self) {
        // What was in it dies now, and then the directory goes; neither is what the test is about.
        let _thawed = std::fs::write(self.0.join("freezer.state"), "THAWED");
        let _gone = rustbox_tests::wait_until(LIMIT, || std::fs::remove_dir(&self.0).ok());
    }
}

// S06, D21: a process that survives its kill, since somebody has frozen it. It is outside nothing, and it is a leak.
#[test]
fn a_process_that_survives_the_kill_is_a_leak_and_quarantines_the_worker() {
    let lab = Lab::open("survivor");
    let running = lab.a_box().flags(["--wall-time", "1s"]).argv(["/bin/sleep", "600"]).start();
    let box_id = running.box_id().to_owned();
    let pid = rustbox_tests::wait_until(LIMIT, || payload_of(&box_id)).expect("the payload").pid;
    let ice = Ice::around(pid);
    if !skip_unless("v1_freezer", ice.as_ref().map(|_| ()).ok_or_else(|| "this host has no v1 freezer".to_owned())) {
        running.kill();
        return;
    }
    let ended = running.finish();
    let report = ended.try_report().expect("a report");
    assert_eq!((ended.code(), report.cause.as_str()), (Some(121), "post_cleanup_leak"), "{ended}");
    let findings = &report.containment.findings;
    let survivor = findings.iter().find(|finding| finding.process.is_some_and(|process| process.pid == pid));
    let what = &survivor.unwrap_or_else(|| panic!("nobody accuses {pid}: {findings:?}")).what;
    assert!(what.starts_with("cleanup_timeout: "), "{what}");
    assert_eq!(report.containment.cgroup_removed, Some(false), "{ended}");
    let view = lab.rustbox().arg("health").output().expect("start rustbox");
    let view = String::from_utf8_lossy(&view.stdout).into_owned();
    assert!(view.contains("orphan_process_detected") && view.contains("\"quarantined\""), "{view}");
    let code = lab.rustbox().args(["run", "--", "/bin/true"]).status().expect("start rustbox").code();
    assert_eq!(code, Some(120));
    drop(ice);
    let clean = rustbox_tests::wait_until(LIMIT, || {
        let recovered = lab.rustbox().args(["health", "--recover"]).status().expect("start rustbox").code();
        (recovered == Some(0) && wait_clean(&box_id, &lab.state_dir()).is_empty()).then_some(())
    });
    assert!(clean.is_some(), "{:?}", wait_clean(&box_id, &lab.state_dir()));
    let check = lab.rustbox().args(["health", "--check"]).status().expect("start rustbox").code();
    assert_eq!(check, Some(1), "recovery does not lift it");
}
