//! Cleanups that fail on a real host, for real reasons: each is told by its word, none is called a success, and all are
//! undone when the reason is. C04, C13, C14; those that need mounts are with the tests of `rustbox health`.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::mpsc;

use nix::sys::ptrace;
use nix::unistd::Pid;
use rustbox_tests::{CgroupLayout, Lab, SeenProcess, scan, wait_clean};

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
