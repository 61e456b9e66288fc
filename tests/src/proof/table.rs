//! `tests/adversarial/payloads.toml`: each attack, the evidence that a barrier held, the control in which the attack succeeds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One payload, and the ways in which it attacks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// Name of the program.
    pub name: String,
    /// What kind of attack.
    pub family: Family,
    /// What it has to overcome.
    pub barrier: String,
    /// Requirements that it proves.
    pub requirements: Vec<String>,
    /// Flaws of other sandboxes that this is the regression test for.
    #[serde(default)]
    pub history: Vec<String>,
    /// Further tests that run it.
    #[serde(default)]
    pub tests: Vec<String>,
    /// The ways.
    pub case: Vec<Case>,
}

/// The families of attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Leaving the process tree.
    Tree,
    /// Refusing to die.
    Die,
    /// Attacking the init or the supervisor.
    Init,
    /// Leaving the cgroup or the namespaces.
    Leave,
    /// Hiding in other objects of the kernel.
    Hide,
    /// Exhausting what is limited.
    Exhaust,
    /// Reading what is not its own.
    Read,
    /// Forging or losing the verdict.
    Verdict,
}

impl Family {
    /// Its name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Tree => "leaving the process tree",
            Self::Die => "refusing to die",
            Self::Init => "attacking init or the supervisor",
            Self::Leave => "leaving the cgroup or the namespaces",
            Self::Hide => "hiding in other objects",
            Self::Exhaust => "exhausting",
            Self::Read => "reading what is not its own",
            Self::Verdict => "forging the verdict",
        }
    }
}

/// One attack: a payload with its arguments, in a box and in its control.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Tells it from the other cases of its payload.
    #[serde(default)]
    pub name: String,
    /// What the host has to offer to the attack.
    #[serde(default)]
    pub with: Vec<Fixture>,
    /// Arguments of the payload; `{word}` is given by a fixture.
    #[serde(default)]
    pub args: Vec<String>,
    /// Flags of `rustbox run`.
    #[serde(default)]
    pub flags: Vec<String>,
    /// The evidence that the barrier held.
    pub expect: Expect,
    /// The run in which the attack succeeds.
    pub control: Control,
}

/// Something of the host that an attack aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fixture {
    /// `{tcp}`: a port of 127.0.0.1 on which somebody listens, and nobody may connect.
    Tcp,
    /// `{abstract}`: an abstract socket, likewise.
    Abstract,
    /// `{socket}`: a socket in the file system, likewise.
    Socket,
    /// `{canary}`: a file of the host that holds the word CANARY, may be read by everybody, and must stay as it is.
    CanaryFile,
    /// `{stranger}`: a process of uid 79998 that looks like one of a box.
    Stranger,
    /// `{victim}`: a process of root's that looks like one of a box.
    Victim,
    /// `{setuid}`: a copy of the payload that belongs to root and has the setuid and setgid bits.
    SetuidCopy,
    /// `{file-caps}`: a copy of the payload that carries every file capability.
    CapsCopy,
    /// Descriptors 5 to 8 of the caller's are open in rustbox when it starts, as from a careless caller.
    CarelessDescriptors,
    /// Standard streams are a terminal.
    Terminal,
    /// Two hundred variables in rustbox's environment hold a secret, and the payload must not print one.
    Secrets,
    /// Another run of the same payload, with `plant`, is under way beside it.
    Beside,
}

/// How a payload ends in a box that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// It tells each attempt and says `contained`.
    Contained,
    /// It says `armed`, and what it armed is killed with the box.
    Armed,
    /// The verdict says how.
    Verdict,
}

/// The evidence that a barrier held, by cause.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// How the payload ends.
    pub ends: Ends,
    /// Status, cause and exit code, as in `TLE tle_wall 124`; `OK normal_exit 0` when not given.
    #[serde(default)]
    pub verdict: Option<String>,
    /// Attempts that were made and failed with exactly this errno: `mount(tmpfs) = EPERM`.
    #[serde(default)]
    pub denied: Vec<String>,
    /// Further lines of the payload's.
    #[serde(default)]
    pub said: Vec<String>,
    /// Measured facts, and the least that they must be.
    #[serde(default)]
    pub at_least: BTreeMap<Fact, u64>,
    /// Measured facts, and the most that they may be.
    #[serde(default)]
    pub at_most: BTreeMap<Fact, u64>,
    /// State letters that processes had at the kill: `TT` for two that were stopped.
    #[serde(default)]
    pub states: String,
    /// The name that one of them had.
    #[serde(default)]
    pub comm: Option<String>,
}

/// What the report of a box measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Processes that were killed with the box.
    Killed,
    /// Of those, the ones outside the payload's session.
    LeftSession,
    /// Orphans that the init had reaped.
    Reaped,
    /// Zombies that are left.
    Zombies,
    /// Forks that the kernel refused.
    PidsRefusals,
    /// Highest memory use in MiB.
    MemoryMib,
    /// CPU time in milliseconds.
    CpuMs,
    /// Wall time of the payload in milliseconds.
    WallMs,
    /// From the kill to the empty box, in milliseconds.
    EmptyMs,
    /// Bytes that reached standard output.
    StdoutBytes,
}

/// The run in which the attack succeeds: without it, a box that holds proves nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Where.
    #[serde(default, rename = "in")]
    pub place: Place,
    /// Flags of `containment-pen`, or of `rustbox run` for a box with a barrier lifted.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Other arguments than in the box.
    #[serde(default)]
    pub args: Option<Vec<String>>,
    /// What has to be seen.
    pub sees: Sees,
    /// Lines that the payload must print.
    #[serde(default)]
    pub said: Vec<String>,
}

/// Where a control runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// A pen: a cgroup with a ceiling, and nothing else; an ordinary user.
    #[default]
    Pen,
    /// The same as root, in a mount namespace of its own.
    RootPen,
    /// A box with one barrier lifted.
    Box,
}

/// What a control has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Sees {
    /// Something outlives the main process.
    Outlived,
    /// An attempt succeeds.
    Escaped,
    /// The main process outlasts its time.
    Alive,
    /// The main process ends with this code, or with this negative signal.
    Code(i32),
}

impl TryFrom<String> for Sees {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "outlived" => Ok(Self::Outlived),
            "escaped" => Ok(Self::Escaped),
            "alive" => Ok(Self::Alive),
            other => other
                .strip_prefix("code ")
                .and_then(|n| n.parse().ok())
                .map(Self::Code)
                .ok_or_else(|| format!("a control sees outlived, escaped, alive or code N, not {other:?}")),
        }
    }
}

impl Payload {
    /// The name of one of its cases, unique in the table.
    #[must_use]
    pub fn case_name(&self, case: &Case) -> String {
        if case.name.is_empty() { self.name.clone() } else { format!("{}:{}", self.name, case.name) }
    }
}

impl Expect {
    /// Status, cause, exit code.
    #[must_use]
    pub fn verdict(&self) -> &str {
        self.verdict.as_deref().unwrap_or("OK normal_exit 0")
    }
}

#[derive(Deserialize)]
struct Table {
    payload: Vec<Payload>,
}

/// Every row.
///
/// # Panics
/// When the table does not parse.
#[must_use]
pub fn payload_table() -> Vec<Payload> {
    let table: Table = toml::from_str(include_str!("../../adversarial/payloads.toml")).expect("payloads.toml");
    table.payload
}
