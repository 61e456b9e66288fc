//! Boxes of one test: started through the `rustbox` command, in a state directory of their own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustbox_core::RUN_SCHEMA;
use rustix::process::Signal;

use crate::binary::rustbox;
use crate::ended::EndedBox;
use crate::payload::{payload, payload_dir};
use crate::pidfd::PidFd;
use crate::prepared::PreparedHost;
use crate::residue::residue;

/// A box that has not ended after this time hangs; the longest legitimate run is a few seconds.
const HANG: Duration = Duration::from_secs(40);

/// A state directory and a family of box ids that nobody else uses.
#[derive(Debug)]
pub struct Lab {
    // Before the directory that it is in.
    prepared: Option<PreparedHost>,
    directory: tempfile::TempDir,
    prefix: String,
    count: AtomicU32,
}

impl Lab {
    /// Makes the directories. `name` becomes part of the box ids.
    ///
    /// # Panics
    /// When `/var/lib` cannot be written: the tests need root.
    #[must_use]
    pub fn open(name: &str) -> Self {
        // Not below /tmp: a privileged program must refuse state there, since others can write to it.
        let directory = tempfile::Builder::new().prefix("rustbox-test-").tempdir_in("/var/lib");
        let directory = directory.expect("a directory in /var/lib; the tests of whole boxes run as root");
        std::fs::create_dir(directory.path().join("state")).expect("a state directory");
        std::fs::create_dir(directory.path().join("nowhere")).expect("an empty directory");
        let prefix = format!("t{}-{name}", std::process::id());
        Self { prepared: None, directory, prefix, count: AtomicU32::new(0) }
    }

    /// The same, with boxes that begin from an empty mount namespace (`rustbox prepare`).
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn prepared(name: &str) -> Self {
        let lab = Self::open(name);
        let prepared = PreparedHost::below(lab.path());
        Self { prepared: Some(prepared), ..lab }
    }

    /// Flags that name this lab's places.
    fn places(&self) -> Vec<OsString> {
        let mut words = vec!["--state-dir".into(), self.state_dir().into()];
        if let Some(prepared) = &self.prepared {
            words.extend(["--runtime-dir".into(), prepared.runtime.clone().into()]);
        }
        words
    }

    /// How every box id of this lab begins.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where this lab's boxes keep their records.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Where driven commands are started: a directory in which nobody may make anything.
    #[must_use]
    pub fn nowhere(&self) -> PathBuf {
        self.directory.path().join("nowhere")
    }

    /// A directory for the test's own files, removed with the lab.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A box that does not exist yet, with a new id.
    #[must_use]
    pub fn a_box(&self) -> BoxCommand<'_> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        BoxCommand {
            lab: self,
            box_id: format!("{}-{number}", self.prefix),
            program: rustbox().to_owned(),
            global: Vec::new(),
            flags: Vec::new(),
            argv: Vec::new(),
            stdin: Stdio::null(),
            wrapper: Vec::new(),
            files: None,
        }
    }

    /// Runs another verb of `rustbox` to its end, with this lab's state directory.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn call<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> std::process::Output {
        let mut command = self.rustbox();
        command.args(args);
        crate::orphans::output_of(command).expect("run rustbox")
    }

    /// The `rustbox` command with this lab's state directory, for its other verbs.
    #[must_use]
    pub fn rustbox(&self) -> Command {
        let mut command = Command::new(rustbox());
        command.args(self.places()).stdin(Stdio::null());
        command
    }
}

/// A `rustbox run` that is being put together.
#[derive(Debug)]
pub struct BoxCommand<'lab> {
    lab: &'lab Lab,
    box_id: String,
    program: PathBuf,
    global: Vec<OsString>,
    flags: Vec<OsString>,
    argv: Vec<OsString>,
    stdin: Stdio,
    wrapper: Vec<OsString>,
    files: Option<String>,
}

impl<'lab> BoxCommand<'lab> {
    /// The id that it will have.
    #[must_use]
    pub fn box_id(&self) -> &str {
        &self.box_id
    }

    /// Gives it an id of the caller's.
    #[must_use]
    pub fn named(mut self, box_id: &str) -> Self {
        box_id.clone_into(&mut self.box_id);
        self
    }

    /// Adds flags of `rustbox run`.
    #[must_use]
    pub fn flags<S: AsRef<OsStr>>(mut self, flags: impl IntoIterator<Item = S>) -> Self {
        self.flags.extend(flags.into_iter().map(|f| f.as_ref().to_owned()));
        self
    }

    /// Adds flags of `rustbox` itself.
    #[must_use]
    pub fn global<S: AsRef<OsStr>>(mut self, flags: impl IntoIterator<Item = S>) -> Self {
        self.global.extend(flags.into_iter().map(|f| f.as_ref().to_owned()));
        self
    }

    /// Runs a payload of `tests/adversarial` with these arguments.
    #[must_use]
    pub fn attack(self, name: &str, args: &[&str]) -> Self {
        let _built = payload(name);
        let bind = format!("{}:/payloads", payload_dir().display());
        let mut argv = vec![format!("/payloads/{name}")];
        argv.extend(args.iter().map(|a| (*a).to_owned()));
        self.flags(["--ro-bind", &bind]).argv(argv)
    }

    /// Runs this program.
    #[must_use]
    pub fn argv<S: AsRef<OsStr>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.argv = argv.into_iter().map(|a| a.as_ref().to_owned()).collect();
        self
    }

    /// Uses another program than [`rustbox`].
    #[must_use]
    pub fn program(mut self, program: &Path) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    /// Standard input of rustbox, and so of the payload; `/dev/null` otherwise.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdio) -> Self {
        self.stdin = stdin;
        self
    }

    /// Puts these words before `rustbox`: a shell that spoils something first, `setsid --ctty`, ...
    #[must_use]
    pub fn wrapped<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = words.into_iter().map(|w| w.as_ref().to_owned()).collect();
        self
    }

    /// Names its output files otherwise than after the box, for a second run with the same id.
    #[must_use]
    pub fn report_as(mut self, name: &str) -> Self {
        self.files = Some(name.to_owned());
        self
    }

    fn file(&self, kind: &str) -> PathBuf {
        let name = self.files.as_deref().unwrap_or(&self.box_id);
        self.lab.path().join(format!("{name}.{kind}"))
    }

    /// Files for the output of a run that the caller starts in its own way.
    pub(crate) fn outputs(&self) -> (File, File) {
        let create = |kind| File::create(self.file(kind)).expect("an output file");
        (create("out"), create("err"))
    }

    /// Runs it under a driver, to its end.
    ///
    /// # Panics
    /// When the tracing itself fails.
    #[must_use]
    pub fn drive(&self, drive: &crate::driver::Drive) -> crate::driver::Driven {
        drive.run(&self.words(), &self.lab.nowhere(), self.outputs())
    }

    /// What a run that the caller started has written as its result; none when it wrote none.
    #[must_use]
    pub fn result_text(&self) -> Option<String> {
        std::fs::read_to_string(self.file("json")).ok().filter(|text| !text.is_empty())
    }

    /// Removes its output files: a sweep has thousands.
    pub fn forget(&self) {
        for kind in ["out", "err", "json"] {
            let _absent = std::fs::remove_file(self.file(kind));
        }
    }

    /// What a run that the caller started has printed: on standard output, and on standard error.
    #[must_use]
    pub fn collect(&self) -> (String, String) {
        (read_lossy(&self.file("out")), read_lossy(&self.file("err")))
    }

    /// The whole command line, for a caller that starts it in its own way.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        let mut words = self.wrapper.clone();
        words.push(self.program.clone().into());
        words.extend(self.lab.places());
        words.extend(self.global.iter().cloned());
        let mut json = OsString::from("--json=");
        json.push(self.file("json"));
        words.extend(["run".into(), "--box-id".into(), self.box_id.clone().into(), json]);
        words.extend(["--env".into(), format!("RUSTBOX_TEST_BOX={}", self.box_id).into()]);
        words.extend(self.flags.iter().cloned());
        words.push("--".into());
        words.extend(self.argv.iter().cloned());
        words
    }

    /// Starts rustbox; the output goes to files, so that nobody has to read it along the way.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(self) -> RunningBox<'lab> {
        let words = self.words();
        let (stdout, stderr) = (self.file("out"), self.file("err"));
        let (program, args) = words.split_first().expect("a command");
        let create = |path: &Path| File::create(path).expect("an output file");
        let report = self.file("json");
        let begun = Instant::now();
        let mut command = Command::new(program);
        command.args(args).stdin(self.stdin).stdout(create(&stdout)).stderr(create(&stderr));
        let child = crate::orphans::start(&mut command);
        let child = child.unwrap_or_else(|e| panic!("start {}: {e}", program.display()));
        let pidfd = PidFd::open(child.id()).expect("pidfd of rustbox");
        RunningBox { lab: self.lab, box_id: self.box_id, child, pidfd, stdout, stderr, report, begun }
    }

    /// Runs it to its end, and returns its exit code only: for a run that may lose its id to another one,
    /// whose processes are not its own residue.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn finish_loser(self) -> Option<i32> {
        let words = self.words();
        let (program, args) = words.split_first().expect("a command");
        let mut command = Command::new(program);
        let output = command.args(args).stdin(Stdio::null()).output();
        output.unwrap_or_else(|e| panic!("start {}: {e}", program.display())).status.code()
    }

    /// Runs it to its end.
    #[must_use]
    pub fn finish(self) -> EndedBox {
        self.start().finish()
    }
}

/// A `rustbox run` under way.
#[derive(Debug)]
pub struct RunningBox<'lab> {
    lab: &'lab Lab,
    box_id: String,
    child: Child,
    pidfd: PidFd,
    stdout: PathBuf,
    stderr: PathBuf,
    report: PathBuf,
    begun: Instant,
}

impl<'lab> RunningBox<'lab> {
    /// Its id.
    #[must_use]
    pub fn box_id(&self) -> &str {
        &self.box_id
    }

    /// Pid of rustbox (or of what it is wrapped in).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Descriptor of rustbox.
    #[must_use]
    pub fn pidfd(&self) -> &PidFd {
        &self.pidfd
    }

    /// The write end of its standard input, if that is a pipe.
    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// Waits until the payload has printed this word.
    ///
    /// # Panics
    /// When it has not after ten seconds.
    pub fn await_output(&self, word: &str) {
        let seen = crate::pidfd::wait_until(Duration::from_secs(10), || self.stdout().contains(word).then_some(()));
        assert!(seen.is_some(), "no {word:?} from the payload: {:?} {}", self.stdout(), read_lossy(&self.stderr));
    }

    /// Sends a signal to rustbox.
    pub fn signal(&self, signal: Signal) {
        self.pidfd.signal(signal);
    }

    /// Kills rustbox with SIGKILL, reaps it, and removes what it wrote: a sweep has thousands.
    pub fn kill(self) {
        let written = [self.stdout.clone(), self.stderr.clone(), self.report.clone()];
        drop(self);
        for path in written {
            let _absent = std::fs::remove_file(path);
        }
    }

    /// Reaps a rustbox that has ended, whatever is left of boxes of its id, and returns its exit code.
    ///
    /// # Panics
    /// When it cannot be reaped.
    #[must_use]
    pub fn exit_code(mut self) -> Option<i32> {
        self.child.wait().expect("reap rustbox").code()
    }

    /// Waits for rustbox's end.
    ///
    /// # Panics
    /// When it hangs; it is killed then.
    #[must_use]
    pub fn finish(mut self) -> EndedBox {
        assert!(self.pidfd.wait(HANG), "rustbox hangs: {}; stderr: {}", self.box_id, read_lossy(&self.stderr));
        let elapsed = self.begun.elapsed();
        let status = self.child.wait().expect("reap rustbox");
        // At the moment when rustbox has returned, not after a while.
        let left = residue(&self.box_id, &self.lab.state_dir());
        let text = std::fs::read_to_string(&self.report).ok();
        // A refusal has a schema of its own: no box was made, so there is nothing to report of one.
        let report = text
            .filter(|t| t.contains(RUN_SCHEMA))
            .map(|t| serde_json::from_str(&t).unwrap_or_else(|e| panic!("the report does not parse: {e}: {t}")));
        let (stdout, stderr) = (read_lossy(&self.stdout), read_lossy(&self.stderr));
        // The kernel charges what is cached of a file to the cgroup of who wrote it, and keeps that as long as the cache.
        for path in [&self.stdout, &self.stderr] {
            let _absent = std::fs::remove_file(path);
        }
        EndedBox { box_id: self.box_id.clone(), status, elapsed, stdout, stderr, report, left }
    }
}

/// A test that fails must not leave a box that runs on.
impl Drop for RunningBox<'_> {
    fn drop(&mut self) {
        self.pidfd.signal(Signal::KILL);
        let _status = self.child.wait();
        crate::orphans::command_ended(self.child.id());
    }
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
