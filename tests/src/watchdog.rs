//! Kills what a test waits for, when that takes longer than anything legitimate does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use crate::pidfd::PidFd;

/// A command that has not ended after this time hangs. A supervisor of which every poll fails waits ten seconds for its init,
/// as long for its keeper, and looks twice for zombies; all that while others are at work.
const HANG: Duration = Duration::from_secs(40);
/// What else is traced gets so long after the command has ended.
const GRACE: Duration = Duration::from_secs(3);

/// What the watchdog is told.
#[derive(Debug, PartialEq, Eq)]
enum Leash {
    /// The command has ended by itself, or been killed by the test.
    CommandEnded,
}

/// A thread that waits; dropped in time, it does nothing.
#[derive(Debug)]
pub(crate) struct Watchdog {
    processes: Arc<Mutex<Vec<PidFd>>>,
    bitten: Arc<AtomicBool>,
    leash: Option<Sender<Leash>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches a command.
    pub(crate) fn start(command: PidFd) -> Self {
        let processes = Arc::new(Mutex::new(vec![command]));
        let bitten = Arc::new(AtomicBool::new(false));
        let (leash, pulled) = channel();
        let (theirs, has_bitten) = (Arc::clone(&processes), Arc::clone(&bitten));
        let thread = std::thread::spawn(move || {
            let kill = |count| {
                let processes = theirs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                processes.iter().take(count).for_each(|process| process.signal(Signal::KILL));
            };
            match pulled.recv_timeout(HANG) {
                Ok(Leash::CommandEnded) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    has_bitten.store(true, Ordering::SeqCst);
                    kill(1);
                }
            }
            // A second word about the end of the command changes nothing.
            while let Ok(Leash::CommandEnded) = pulled.recv_timeout(GRACE) {}
            if pulled.try_recv() != Err(TryRecvError::Disconnected) {
                kill(usize::MAX);
            }
        });
        Self { processes, bitten, leash: Some(leash), thread: Some(thread) }
    }

    /// Watches one more, which is killed when killing the command did not help.
    pub(crate) fn watch(&self, process: Option<PidFd>) {
        self.processes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(process);
    }

    /// The command has ended: what else is traced has a while left.
    pub(crate) fn command_ended(&self) {
        let _ended = self.leash.as_ref().map(|leash| leash.send(Leash::CommandEnded));
    }

    /// Sends the command a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let processes = self.processes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        processes.iter().take(1).for_each(|process| process.signal(signal));
    }

    /// Whether the command was killed because it did not end.
    pub(crate) fn has_bitten(&self) -> bool {
        self.bitten.load(Ordering::SeqCst)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.leash.take();
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}
