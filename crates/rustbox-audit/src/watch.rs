//! Watching a host: events as they come, comparisons many times a second, and a full pass now and then.
//!
//! Theory. Nothing that a process can do without root's rights takes it out of its PID namespace, so who is in which
//! namespace changes by births and deaths only, and the kernel announces those (the proc connector). A migration to
//! another cgroup is announced by nobody: it is found by comparing, every [`WatchOptions::tick`], the boxes' cgroups with
//! the known members of their namespaces. Whoever cannot be cleared so is looked at twice, as in any audit.
//!
//! ```text
//! events   -> who began in a known box is looked at the same moment: one who begins outside may be gone soon
//! tick     -> registry and cgroups read again, compared; suspects are looked at, and again a moment later
//! interval -> a full audit, on a thread of its own, so that the ticks go on
//! ```
//!
//! A lost event (the kernel drops what is not fetched in time, and says so) is a coverage gap: then everything is read
//! anew, and a full pass follows at once. Where there are no events to be had, every comparison is preceded by a walk
//! through the host, and that is a coverage gap too: who comes and goes between two walks is not seen.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant, SystemTime};

use rustbox_core::{Finding, FindingKind};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::audit::{AuditOptions, Response, audit};
use crate::clock::rfc3339;
use crate::connector::{Batch, ProcConnector};
use crate::error::AuditError;
use crate::events::emit;
use crate::glance::{Glance, Glances};
use crate::proc_root::ProcRoot;
use crate::registry::Registry;
use crate::report::AuditReport;

/// How a host is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// Time between two comparisons of cgroups and namespaces.
    pub tick: Duration,
    /// Time between two looks at a suspect.
    pub confirm: Duration,
    /// Time between two full passes.
    pub interval: Duration,
    /// Room for events that are not fetched yet.
    pub event_bytes: usize,
    /// How the full passes are made. With [`Response::Kill`], a pass follows each finding at once.
    pub audit: AuditOptions,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(50),
            confirm: Duration::from_millis(15),
            interval: Duration::from_secs(60),
            // Some 30,000 events: what a host of two cores forks in several seconds.
            event_bytes: 8 << 20,
            audit: AuditOptions::default(),
        }
    }
}

/// What a watch tells.
#[derive(Debug)]
pub enum Watched<'w> {
    /// An escape that was seen between two full passes, or a gap in what the watch can see. Told once.
    Finding(&'w Finding),
    /// A full pass has ended.
    Pass(&'w AuditReport),
    /// A full pass could not be made: there is no verdict.
    PassFailed(&'w AuditError),
}

/// Part of the time that walks through the host may take where there are no events: one in this many.
const WALK_SHARE: u32 = 4;

/// Watches until `stop` is readable. The events of findings are emitted; `tell` is called beside that.
///
/// # Errors
/// When the processes cannot be listed at the start.
pub fn watch(
    root: &ProcRoot,
    read_registry: &(dyn Fn() -> Registry + Sync),
    options: &WatchOptions,
    stop: BorrowedFd<'_>,
    tell: &mut dyn FnMut(Watched<'_>),
) -> Result<(), AuditError> {
    let passes = Passes::new()?;
    // Subscribed before the first walk: who begins meanwhile is in both.
    let connector = ProcConnector::open(root.observer().pid_namespace, options.event_bytes);
    let mut glances = Glances::new(root, options.audit.patience);
    glances.walk()?;
    std::thread::scope(|scope| {
        let mut watch = Watch {
            root,
            read_registry,
            options,
            tell,
            connector: None,
            glances,
            passes: &passes,
            scope,
            is_wanted: true,
        };
        match connector {
            Ok(connector) => watch.connector = Some(connector),
            Err(error) => watch.gap(format!("process events cannot be had: {error}")),
        }
        watch.run(stop);
    });
    Ok(())
}

/// Full passes, one at a time, each on a thread of its own.
struct Passes {
    sender: Sender<Result<AuditReport, AuditError>>,
    receiver: Receiver<Result<AuditReport, AuditError>>,
    ended: std::os::fd::OwnedFd,
}

impl Passes {
    fn new() -> Result<Self, AuditError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let ended = eventfd(0, flags).map_err(|errno| AuditError::Watch { source: errno.into() })?;
        let (sender, receiver) = channel();
        Ok(Self { sender, receiver, ended })
    }
}

struct Watch<'w, 's, 'e> {
    root: &'e ProcRoot,
    read_registry: &'e (dyn Fn() -> Registry + Sync),
    options: &'e WatchOptions,
    tell: &'w mut dyn FnMut(Watched<'_>),
    connector: Option<ProcConnector>,
    glances: Glances<'e>,
    passes: &'e Passes,
    scope: &'s Scope<'s, 'e>,
    /// Whether a full pass is to begin as soon as none is under way.
    is_wanted: bool,
}

/// When what is to be done.
struct Timetable {
    glance: Instant,
    pass: Instant,
    is_passing: bool,
}

impl<'s, 'e> Watch<'_, 's, 'e> {
    fn run(&mut self, stop: BorrowedFd<'_>) {
        let now = Instant::now();
        let mut due = Timetable { glance: now, pass: now, is_passing: false };
        let mut batch = Batch::default();
        loop {
            let now = Instant::now();
            if !due.is_passing && (self.is_wanted || now >= due.pass) {
                self.begin_pass();
                due.is_passing = true;
                due.pass = now + self.options.interval;
            }
            if now >= due.glance {
                due.glance = self.glance();
            }
            let wait = due.glance.saturating_duration_since(Instant::now());
            let [is_over, has_events, has_passed] = self.wait(stop, wait);
            if is_over {
                return;
            }
            if has_events {
                self.follow(&mut batch, &mut due);
            }
            if has_passed {
                due.is_passing = !self.end_pass();
            }
        }
    }

    fn wait(&self, stop: BorrowedFd<'_>, limit: Duration) -> [bool; 3] {
        let events = self.connector.as_ref().map_or(stop, AsFd::as_fd);
        let mut waiting =
            [stop, events, self.passes.ended.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let timeout = Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
        match poll(&mut waiting, Some(&timeout)) {
            Ok(_) => waiting.map(|one| !one.revents().is_empty()),
            // A signal: whoever sent it says the rest through `stop`.
            Err(_interrupted) => [false; 3],
        }
    }

    fn follow(&mut self, batch: &mut Batch, due: &mut Timetable) {
        let Some(connector) = &self.connector else { return };
        if let Err(error) = connector.fetch(batch) {
            self.connector = None;
            self.gap(format!("process events cannot be had any more: {error}"));
            self.is_wanted = true;
            return;
        }
        if self.glances.follow(&batch.events) {
            due.glance = due.glance.min(Instant::now() + self.options.confirm);
        }
        if batch.lost {
            self.gap("the kernel dropped process events that were not fetched in time".to_owned());
            self.walk();
            self.is_wanted = true;
        }
    }

    /// Returns when the next glance is due.
    fn glance(&mut self) -> Instant {
        let started = Instant::now();
        let mut next = started + self.options.tick;
        if self.connector.is_none() {
            self.walk();
            next = next.max(Instant::now() + started.elapsed() * (WALK_SHARE - 1));
        }
        let Glance { findings, is_unsettled, is_overfull } = self.glances.glance((self.read_registry)());
        for finding in &findings {
            emit(finding);
            (self.tell)(Watched::Finding(finding));
        }
        self.is_wanted |= is_overfull || (!findings.is_empty() && self.options.audit.response == Response::Kill);
        if is_unsettled { next.min(Instant::now() + self.options.confirm) } else { next }
    }

    fn walk(&mut self) {
        if let Err(error) = self.glances.walk() {
            self.gap(format!("the processes cannot be listed: {error}"));
        }
    }

    fn gap(&mut self, what: String) {
        let mut finding = Finding::new(FindingKind::CoverageGap, what);
        finding.first_seen = rfc3339(SystemTime::now());
        finding.last_seen.clone_from(&finding.first_seen);
        finding.kernel.clone_from(&self.root.observer().kernel);
        emit(&finding);
        (self.tell)(Watched::Finding(&finding));
    }

    fn begin_pass(&mut self) {
        self.is_wanted = false;
        let (root, read, options) = (self.root, self.read_registry, self.options.audit);
        let (sender, ended) = (self.passes.sender.clone(), self.passes.ended.as_fd());
        self.scope.spawn(move || {
            // The receiver is there as long as the scope is.
            let _sent = sender.send(audit(root, &mut || read(), &options));
            let _woken = rustix::io::write(ended, &1_u64.to_ne_bytes());
        });
    }

    /// Returns whether a pass had ended.
    fn end_pass(&mut self) -> bool {
        let _count = rustix::io::read(&self.passes.ended, &mut [0_u8; 8]);
        let Ok(ended) = self.passes.receiver.try_recv() else { return false };
        match &ended {
            Ok(report) => (self.tell)(Watched::Pass(report)),
            Err(error) => (self.tell)(Watched::PassFailed(error)),
        }
        true
    }
}
