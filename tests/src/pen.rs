//! The control run: the same payload without a box, where its attack must succeed.

use std::io::Read;
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use crate::binary::profile_dir;
use crate::payload::payload;

/// A payload in a pen: a cgroup with a ceiling on processes and memory, under a program that adopts
/// the orphans and kills everything at the end. Nothing else holds it, so each barrier of a box is lifted.
#[derive(Debug)]
pub struct Pen {
    flags: Vec<String>,
    command: Vec<String>,
    stdin: Stdio,
}

/// Bytes that are kept of what a payload prints.
const MOST_KEPT: u64 = 1 << 20;

/// One process that was alive when the main process had ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PenSurvivor {
    /// Process id.
    pub pid: u32,
    /// State letter.
    pub state: char,
    /// Session.
    pub session: u32,
}

/// What happened in a pen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PenReport {
    /// Exit code of the main process, a signal as its negative number; none when it outlasted its time.
    pub main: Option<i32>,
    /// Who was alive then.
    pub survivors: Vec<PenSurvivor>,
    /// Processes that could not be killed, and directories that could not be removed.
    pub left: Vec<String>,
    /// What the payload printed.
    #[serde(default)]
    pub stdout: String,
}

impl Pen {
    /// A pen for this payload, which runs as an ordinary user.
    #[must_use]
    pub fn of(name: &str, args: &[&str]) -> Self {
        let mut command = vec![payload(name).display().to_string()];
        command.extend(args.iter().map(|a| (*a).to_owned()));
        Self { flags: Vec::new(), command, stdin: Stdio::null() }
    }

    /// A pen for another sandbox, which starts the payload that `--file` names.
    #[must_use]
    pub fn command(words: Vec<String>) -> Self {
        Self { flags: Vec::new(), command: words, stdin: Stdio::null() }
    }

    /// Lets it run as root, in a mount namespace of its own, so that what it mounts is not the host's.
    #[must_use]
    pub fn as_root(self) -> Self {
        self.flag("--root")
    }

    /// Adds a flag of `containment-pen`.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Standard input of the payload.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdio) -> Self {
        self.stdin = stdin;
        self
    }

    /// Runs it, and asserts that the pen was emptied and removed.
    ///
    /// # Panics
    /// When the pen itself fails, or something is left of it.
    #[must_use]
    pub fn run(self) -> PenReport {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let program =
            std::env::var_os("RUSTBOX_PEN").map_or_else(|| profile_dir().join("containment-pen"), PathBuf::from);
        let name = format!("containment-pen-{}-{number}", std::process::id());
        let mut command = Command::new(&program);
        command.arg(&name).args(&self.flags).arg("--").args(&self.command).stdin(self.stdin).stderr(Stdio::piped());
        let mut child =
            command.stdout(Stdio::piped()).spawn().unwrap_or_else(|e| panic!("run {}: {e}", program.display()));
        let stdout = child.stdout.take().expect("a pipe");
        let said = std::thread::spawn(move || first_of(stdout));
        let output = child.wait_with_output().expect("wait for the pen");
        let said = said.join().expect("no panic");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {}: {stderr}", output.status);
        let last = stderr.lines().last().unwrap_or_default();
        let mut report: PenReport =
            serde_json::from_str(last).unwrap_or_else(|e| panic!("{command:?}: no report: {e}: {stderr}"));
        report.stdout = String::from_utf8_lossy(&said).into_owned();
        assert!(report.left.is_empty(), "the pen could not be emptied: {report:?}");
        report
    }
}

/// Reads everything, and keeps what comes first: who prints without end fills a gigabyte in seconds.
fn first_of(mut pipe: ChildStdout) -> Vec<u8> {
    let mut kept = Vec::new();
    let _said = pipe.by_ref().take(MOST_KEPT).read_to_end(&mut kept);
    let _rest = std::io::copy(&mut pipe, &mut std::io::sink());
    kept
}

impl PenReport {
    /// Asserts that something outlived the main process: the attack works where no box is.
    ///
    /// # Panics
    /// When nothing did: then the payload proves nothing.
    pub fn assert_outlived(&self) {
        assert_eq!(self.main, Some(0), "the control did not come to its end: {self:?}");
        assert!(self.stdout.contains("armed:"), "{self:?}");
        assert!(!self.survivors.is_empty(), "nothing outlived the main process without a box: {self:?}");
    }

    /// Asserts that the payload's attempts succeeded.
    ///
    /// # Panics
    /// When they did not.
    pub fn assert_escaped(&self) {
        assert_eq!(self.main, Some(90), "the attack fails even without a box: {self:?}");
        assert!(self.stdout.contains("escaped:"), "{self:?}");
    }
}
