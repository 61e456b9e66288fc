//! Programs under the filter alone, without the rest of a box.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustbox_core::SeccompMode;
use rustbox_ns::seccomp::filter;
use tempfile::TempDir;

/// Compiled helpers and the filters as files, in a directory that ends with the test.
#[derive(Debug)]
pub(crate) struct Harness {
    directory: TempDir,
}

impl Harness {
    /// Compiles the helpers.
    ///
    /// # Panics
    /// Without a C compiler and a static C library: nothing of this could be tested.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["under_filter", "try_calls"] {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seccomp_support").join(name);
            let compiled = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
                .args(["-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
                .arg(directory.path().join(name))
                .arg(source.with_extension("c"))
                .status()
                .expect("a C compiler");
            assert!(compiled.success(), "{name}.c does not compile");
        }
        for mode in [SeccompMode::Errno, SeccompMode::Kill] {
            let bytes: Vec<u8> = filter(mode)
                .unwrap()
                .iter()
                .flat_map(|instruction| {
                    let libc::sock_filter { code, jt, jf, k } = *instruction;
                    let mut bytes = code.to_ne_bytes().to_vec();
                    bytes.extend([jt, jf]);
                    bytes.extend(k.to_ne_bytes());
                    bytes
                })
                .collect();
            std::fs::write(directory.path().join(word(mode)), bytes).unwrap();
        }
        Self { directory }
    }

    /// Where the test may write.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command that runs `program` under the filter of `mode`, in the harness's directory.
    pub(crate) fn under(&self, mode: SeccompMode, program: &str) -> Command {
        let mut command = Command::new(self.path("under_filter"));
        command.arg(self.path(word(mode))).arg(word(mode)).arg(program).current_dir(self.directory.path());
        command
    }
}

/// The (ABI, number) pairs that the listener was told.
pub(crate) fn notifications(output: &Output) -> Vec<(u32, i32)> {
    String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter_map(|line| line.strip_prefix("notified ")?.split_once(' '))
        .map(|(arch, number)| (arch.parse().unwrap(), number.parse().unwrap()))
        .collect()
}

fn word(mode: SeccompMode) -> &'static str {
    match mode {
        SeccompMode::Off => "off",
        SeccompMode::Errno => "errno",
        SeccompMode::Kill => "kill",
    }
}
