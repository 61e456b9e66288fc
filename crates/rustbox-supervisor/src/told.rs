//! What the box told through its socket: facts, in the order of a run.

use std::os::fd::OwnedFd;

use rustbox_core::{Actor, Ending, ExecFailure, SetupFailure, Stage};
use rustbox_ns::{Blueprint, Message, Received};

/// The init is armed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Armed {
    pub(crate) pdeathsig: u32,
    pub(crate) attach_cpu_ns: u64,
    pub(crate) loginuid_errno: i32,
}

/// The payload's process has nothing left to take off, and waits for its program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepared {
    /// Its pid on the host.
    pub(crate) pid: Option<u32>,
}

/// The payload is being executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    pub(crate) at_ns: u64,
    pub(crate) setup_cpu_ns: u64,
    pub(crate) pid: Option<u32>,
}

/// The main process is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MainEnded {
    pub(crate) at_ns: u64,
    pub(crate) ending: Ending,
    pub(crate) max_rss_kib: u64,
    pub(crate) voluntary: u64,
    pub(crate) involuntary: u64,
}

/// The init's last word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastWord {
    pub(crate) descendants: u64,
    pub(crate) empty: bool,
}

/// Everything that was told so far.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) armed: Option<Armed>,
    /// The payload's process waits for its program.
    pub(crate) prepared: Option<Prepared>,
    pub(crate) started: Option<Started>,
    pub(crate) failure: Option<SetupFailure>,
    pub(crate) exec_failure: Option<ExecFailure>,
    pub(crate) main: Option<MainEnded>,
    pub(crate) last: Option<LastWord>,
    pub(crate) backstop: bool,
    pub(crate) listener: Option<OwnedFd>,
    /// End of file: nobody is left who could tell more.
    pub(crate) over: bool,
}

impl Told {
    pub(crate) fn hear(&mut self, received: Received, blueprint: &Blueprint) {
        match received.message {
            Message::Armed { pdeathsig, attach_cpu_ns, loginuid_errno } => {
                self.armed = Some(Armed { pdeathsig, attach_cpu_ns, loginuid_errno });
            }
            Message::Prepared => self.prepared = Some(Prepared { pid: received.sender }),
            Message::Failed { actor, stage, errno, item } => {
                let detail = describe(actor, stage, errno, item, blueprint);
                self.failure.get_or_insert(SetupFailure { stage, actor, errno: Some(errno), detail });
            }
            Message::Listener => self.listener = received.fd,
            Message::Started { at_ns, setup_cpu_ns } => {
                self.started.get_or_insert(Started { at_ns, setup_cpu_ns, pid: received.sender });
            }
            Message::ExecFailed { errno } => self.exec_failure = Some(ExecFailure { errno }),
            Message::MainEnded { at_ns, ending, max_rss_kib, voluntary, involuntary } => {
                self.main.get_or_insert(MainEnded { at_ns, ending, max_rss_kib, voluntary, involuntary });
            }
            Message::Reaped { descendants, empty, .. } => self.last = Some(LastWord { descendants, empty }),
            Message::Backstop => self.backstop = true,
        }
    }
}

/// What init compares in `PayloadReadBack`, in its order.
const READ_BACK: [&str; 8] = [
    "uid",
    "gid",
    "supplementary groups",
    "capabilities",
    "no_new_privs",
    "seccomp mode",
    "blocked and ignored signals",
    "umask",
];
/// The limits, in the order in which the payload's child sets them.
const RLIMITS: [&str; 6] = ["--fsize", "--open-files", "--stack", "--core", "--address-space", "--time (RLIMIT_CPU)"];

#[expect(clippy::wildcard_enum_match_arm, reason = "every other stage does one thing only")]
fn describe(actor: Actor, stage: Stage, errno: i32, item: u32, blueprint: &Blueprint) -> String {
    let who = match actor {
        Actor::Supervisor => "the supervisor",
        Actor::Init => "the box's init",
        Actor::Payload => "the payload's process before its exec",
    };
    let index = usize::try_from(item).unwrap_or(usize::MAX);
    let subject = match stage {
        Stage::PayloadReadBack => READ_BACK.get(index).copied(),
        Stage::Rlimits => RLIMITS.get(index).copied(),
        Stage::Root | Stage::Mount | Stage::Proc | Stage::Dev | Stage::ReadBack => Some(blueprint.mount_subject(item)),
        _ => None,
    };
    let subject = subject.filter(|text| !text.is_empty()).map(|text| format!(": {text}")).unwrap_or_default();
    let cause = std::io::Error::from_raw_os_error(errno);
    let advice = match stage {
        Stage::Mount => blueprint.mount_advice(item, errno),
        Stage::EmptyMounts => Some("`rustbox prepare` makes it anew, `rustbox prepare --undo` does without"),
        _ => None,
    };
    let advice = advice.map(|text| format!("; {text}")).unwrap_or_default();
    format!("{who} could not {stage}{subject}: {cause}{advice}")
}
