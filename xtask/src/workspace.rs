//! What cargo knows about the workspace: where it is, what depends on what, where a build put its programs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command;

/// One dependency of a package, as the manifest has it; for a build, for tests or for the program.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
}

/// One package of the workspace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<PackageTarget>,
}

/// One target of a package: its library, a binary, an integration test.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PackageTarget {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

/// What we read of `cargo metadata --no-deps`.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// A program that cargo built.
#[derive(Clone, Debug)]
pub(crate) struct Executable {
    /// Name of the target: of the binary, of the integration test, or of the library whose unit tests these are.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) role: Role,
}

/// What a program is there for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Role {
    /// A binary of the package.
    Binary,
    /// Tests with their harness.
    Test,
}

/// What we read of a line of `cargo build --message-format=json`.
#[derive(Debug, Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

impl Workspace {
    /// Asks cargo about the workspace that this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let mut metadata = Command::new(cargo());
        metadata.args(["metadata", "--format-version=1", "--no-deps", "--manifest-path"]);
        metadata.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        serde_json::from_str(&command::output(&mut metadata)?).context("read the output of `cargo metadata`")
    }

    /// A `cargo` command in the root of the workspace.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(cargo());
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Builds, and returns the programs that came out: `arguments` are those of `cargo build` or `cargo test --no-run`.
    pub(crate) fn build<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<Vec<Executable>> {
        let mut build = self.cargo(arguments);
        build.arg("--message-format=json-render-diagnostics");
        executables(&command::output(&mut build)?)
    }

    /// The program that `RUSTBOX_BIN` names, as for the tests; else the one that is shipped, built.
    pub(crate) fn program_under_test(&self) -> Result<PathBuf> {
        match std::env::var_os("RUSTBOX_BIN") {
            Some(path) => std::fs::canonicalize(&path).with_context(|| format!("RUSTBOX_BIN: {}", path.display())),
            None => self.release_binary(),
        }
    }

    /// Builds the program that is shipped, and says where it is.
    pub(crate) fn release_binary(&self) -> Result<PathBuf> {
        let built = self.build(["build", "--release", "--package", "rustbox-cli", "--bin", "rustbox"])?;
        match built.into_iter().find(|program| program.name == "rustbox") {
            Some(program) => Ok(program.path),
            None => bail!("`cargo build --release --package rustbox-cli --bin rustbox` made no program of that name"),
        }
    }
}

/// The cargo that started us, so that a toolchain chosen with `+name` is kept.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn executables(messages: &str) -> Result<Vec<Executable>> {
    let mut found = Vec::new();
    for line in messages.lines() {
        let message: Message = serde_json::from_str(line).with_context(|| format!("read cargo's message {line:?}"))?;
        if let (Some(path), Some(target), Some(profile)) = (message.executable, message.target, message.profile) {
            let role = if profile.test { Role::Test } else { Role::Binary };
            found.push(Executable { name: target.name, path, role });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_among_cargos_messages() -> Result<()> {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"a"},"profile":{"test":false},"executable":null}"#,
            "\n",
            r#"{"target":{"name":"rustbox"},"profile":{"test":false},"executable":"/t/rustbox"}"#,
            "\n",
            r#"{"target":{"name":"kill_test"},"profile":{"test":true},"executable":"/t/kill_test-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let found = executables(messages)?;
        let seen: Vec<_> = found.iter().map(|p| (p.name.as_str(), p.path.to_str(), p.role)).collect();
        let expected =
            [("rustbox", Some("/t/rustbox"), Role::Binary), ("kill_test", Some("/t/kill_test-1"), Role::Test)];
        assert_eq!(seen, expected);
        Ok(())
    }
}
