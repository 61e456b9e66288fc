//! A host on which `rustbox prepare` was run, as far as one runtime directory goes.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::binary::rustbox;
use crate::orphans::output_of;

/// Leases are the whole host's, whoever has another runtime directory.
const LEASES: &str = "/run/rustbox/uids";

/// Taken back when the value goes.
#[derive(Debug)]
pub(crate) struct PreparedHost {
    pub(crate) runtime: PathBuf,
}

impl PreparedHost {
    pub(crate) fn below(directory: &Path) -> Self {
        let runtime = directory.join("runtime");
        let make = |path: &Path| {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).expect("a directory");
        };
        make(Path::new(LEASES));
        make(&runtime.join("uids"));
        mount_bind(LEASES, runtime.join("uids")).expect("bind the leases");
        let prepared = Self { runtime };
        let output = prepared.call(&[]).expect("start rustbox");
        assert!(output.status.success(), "{output:?}");
        prepared
    }

    fn call(&self, flags: &[&str]) -> std::io::Result<Output> {
        let mut command = Command::new(rustbox());
        command.arg("--runtime-dir").arg(&self.runtime).arg("prepare").args(flags);
        output_of(command)
    }
}

impl Drop for PreparedHost {
    fn drop(&mut self) {
        let undone = self.call(&["--undo"]);
        let unbound = unmount(self.runtime.join("uids"), UnmountFlags::DETACH);
        if !undone.as_ref().is_ok_and(|output| output.status.success()) || unbound.is_err() {
            let what = format!("mounts are left below {}: {undone:?}, {unbound:?}", self.runtime.display());
            assert!(std::thread::panicking(), "{what}");
            eprintln!("{what}");
        }
    }
}
