//! The program under test: found, or built once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `rustbox` binary under test.
///
/// `RUSTBOX_BIN` names it where there is no compiler. Else it is built here, in the profile and the
/// target directory of the running test, so that `cargo test --test ...` works as the very first
/// command in a fresh clone: Cargo builds a package's own binaries for its tests, not a sibling's.
pub fn rustbox() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("RUSTBOX_BIN") {
        Some(path) => PathBuf::from(path),
        None => build("rustbox", &[]),
    })
}

/// Builds the program with defects, for the tests that must go red with it: `RUSTBOX_PLANTED` chooses one when it runs.
/// Never optimised: a release build refuses to have them.
///
/// It has a name of its own, and lies beside the true one. Returns none where the program is given from outside and
/// cannot be built; `RUSTBOX_PLANTED_BIN` names one then.
#[must_use]
pub fn build_planted() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("RUSTBOX_PLANTED_BIN") {
        return Some(PathBuf::from(path));
    }
    if std::env::var_os("RUSTBOX_BIN").is_some() {
        return None;
    }
    Some(build("rustbox-planted", &["--features", "planted-bugs"]))
}

/// `<target>` of `<target>/<triple>/<profile>/deps/<test>`.
fn target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("path of the running test");
    test.ancestors().nth(4).expect("a test below target/<triple>/<profile>/deps").to_owned()
}

/// The directory of this profile's binaries: two above the test.
pub(crate) fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("path of the running test");
    test.ancestors().nth(2).expect("a test below <profile>/deps").to_owned()
}

fn build(name: &str, extra: &[&str]) -> PathBuf {
    let target = target_dir();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "rustbox-cli", "--bin", name, "--target-dir"]).arg(&target);
    let profile = profile_dir();
    let profile = profile.file_name().expect("a profile directory");
    let planted = !extra.is_empty();
    if profile == "release" && !planted {
        cargo.arg("--release");
    }
    let status = cargo.args(extra).current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("run cargo");
    assert!(status.success(), "the program under test does not build: {cargo:?}");
    let triple = profile_dir().parent().and_then(Path::file_name).expect("a target triple").to_owned();
    let profile = if planted { std::ffi::OsStr::new("debug") } else { profile };
    target.join(triple).join(profile).join(name)
}
