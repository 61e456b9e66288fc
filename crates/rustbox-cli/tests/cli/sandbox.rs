//! A directory of its own for each test, and the binary started in it.

#![expect(clippy::unwrap_used, reason = "a helper of tests: what cannot be prepared cannot be tested")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::fs::{CWD, FileType, Mode};
use tempfile::TempDir;

/// A temporary directory in which rustbox keeps everything that it makes.
pub(crate) struct Sandbox(TempDir);

/// What the binary said and returned.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Makes a FIFO and returns its path.
    pub(crate) fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        path
    }

    /// The binary with nothing of our environment but PATH, and with its places inside the directory.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rustbox"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("RUSTBOX_STATE_DIR", self.path().join("state"))
            .env("RUSTBOX_RUNTIME_DIR", self.path().join("runtime"))
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn rustbox(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Said {
        self.command().args(args).output().unwrap().into()
    }

    /// The names of everything in the directory.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}
