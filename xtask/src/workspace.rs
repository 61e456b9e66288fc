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
#[derive(Debug)]
pub(crate) struct Executable {
    /// Name of the target: of the binary, of the integration test, or of the library whose unit tests these are.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// What we read of a line of `cargo build --message-format=json`.
#[derive(Debug, Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
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
    pub(crate) fn cargo<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new(cargo());
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Builds, and returns the programs that came out: `arguments` are those of `cargo build` or `cargo test --no-run`.
    pub(crate) fn build<const N: usize>(&self, arguments: [&str; N]) -> Result<Vec<Executable>> {
        let mut build = self.cargo(arguments);
        build.arg("--message-format=json-render-diagnostics");
        executables(&command::output(&mut build)?)
    }

    /// Builds the program that is shipped, and says where it is.
    pub(crate) fn release_binary(&self) -> Result<PathBuf> {
        let built = self.build(["build", "--release", "--package", "rustbox-cli"])?;
        match built.into_iter().find(|program| program.name == "rustbox") {
            Some(program) => Ok(program.path),
            None => bail!("`cargo build --release --package rustbox-cli` made no program called rustbox"),
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
        if let (Some(path), Some(target)) = (message.executable, message.target) {
            found.push(Executable { name: target.name, path });
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
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"rustbox_core"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"rustbox"},"executable":"/t/rustbox"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let found = executables(messages)?;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].path.to_str()), ("rustbox", Some("/t/rustbox")));
        Ok(())
    }
}
