//! Strangers that no cleanup may touch.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::pidfd::PidFd;
use crate::process::SeenProcess;

/// A process that is no part of any box and looks like one: it is called `rustbox`, its arguments name
/// a box, and so does its environment.
///
/// Whoever kills by name kills it. It ends with its standard input, so it cannot outlive the test.
#[derive(Debug)]
pub struct Canary {
    child: Child,
    pidfd: PidFd,
    /// Where its name is.
    _shelf: tempfile::TempDir,
}

impl Canary {
    /// Starts one that is named after this box.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(box_id: &str) -> Self {
        Self::called(box_id, &mut |_| ())
    }

    /// One that has this uid as well, which boxes have, too.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn with_uid(box_id: &str, uid: u32) -> Self {
        Self::called(box_id, &mut |command| _ = std::os::unix::process::CommandExt::uid(command, uid))
    }

    fn called(box_id: &str, change: &mut dyn FnMut(&mut Command)) -> Self {
        // The kernel names a process after the path that it executes; nobody else may write its `comm`.
        let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let shelf = tempfile::Builder::new().prefix("rustbox-canary-").permissions(anybody).tempdir();
        let shelf = shelf.expect("a directory for a canary");
        let program = shelf.path().join("rustbox");
        std::os::unix::fs::symlink("/bin/cat", &program).expect("a program called rustbox");
        let mut command = Command::new(&program);
        std::os::unix::process::CommandExt::arg0(&mut command, format!("rustbox-{box_id}"));
        command.env("RUSTBOX_CANARY", box_id).stdin(Stdio::piped()).stdout(Stdio::null());
        change(&mut command);
        // By its name it would be taken for an orphan of rustbox.
        let child = crate::orphans::start(&mut command).expect("start a canary");
        let pidfd = PidFd::open(child.id()).expect("pidfd of a canary");
        let canary = Self { child, pidfd, _shelf: shelf };
        // The parent goes on a moment before the kernel gives the child its new name.
        let name = || SeenProcess::read(canary.pid()).filter(|seen| seen.comm == "rustbox");
        let named = crate::pidfd::wait_until(Duration::from_secs(10), name);
        assert!(named.is_some(), "a canary that nobody would take for one of ours");
        canary
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asserts that it lives and has not even been stopped.
    ///
    /// # Panics
    /// When it has been signalled.
    pub fn assert_unharmed(&self) {
        assert!(self.is_unharmed(), "a stranger was harmed: {:?}", SeenProcess::read(self.child.id()));
    }

    /// Whether it lives and has not even been stopped.
    #[must_use]
    pub fn is_unharmed(&self) -> bool {
        let seen = SeenProcess::read(self.child.id());
        !self.pidfd.wait(Duration::ZERO) && seen.is_some_and(|p| p.state != 'T')
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.pidfd.signal(rustix::process::Signal::KILL);
        let _ended = self.child.wait();
        crate::orphans::command_ended(self.child.id());
    }
}
