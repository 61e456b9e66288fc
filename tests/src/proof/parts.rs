//! Runs the test programs of `tests/proof-parts.toml`, and collects the parts that they write.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::part::{PART_SCHEMA, PROOF_DIR, Part};
use crate::skip::in_guest;

/// One test program of the proof.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartProgram {
    /// The test program.
    pub test: String,
    /// Its arguments.
    #[serde(default)]
    pub filter: Vec<String>,
    /// The parts that it has to write.
    pub writes: Vec<String>,
    /// Variables of the quick mode.
    #[serde(default)]
    pub quick: BTreeMap<String, String>,
    /// Variables of the full mode.
    #[serde(default)]
    pub full: BTreeMap<String, String>,
    /// About how long the quick mode takes.
    pub seconds: u32,
    /// About how long the full mode takes.
    pub full_seconds: u32,
}

/// Every program.
///
/// # Panics
/// When the table does not parse.
#[must_use]
pub fn part_programs() -> Vec<PartProgram> {
    #[derive(Deserialize)]
    struct Table {
        part: Vec<PartProgram>,
    }
    let table: Table = toml::from_str(include_str!("../../proof-parts.toml")).expect("proof-parts.toml");
    table.part
}

/// What one program came to.
#[derive(Debug, Default)]
pub struct Collected {
    /// The parts.
    pub parts: Vec<Part>,
    /// What is missing, or contradicts.
    pub missing: Vec<String>,
}

/// Runs one program to its end. What it prints goes to `parts/TEST.log` below the directory of the proof.
#[must_use]
pub fn run_program(program: &PartProgram, path: &Path, directory: &Path, full: bool) -> Collected {
    let mut collected = Collected::default();
    let parts = directory.join("parts");
    for name in &program.writes {
        // A part of an earlier proof would be taken for this one's.
        let _none = std::fs::remove_file(parts.join(format!("{name}.json")));
    }
    match start(program, path, directory, full) {
        Ok(status) if status.success() => {}
        Ok(status) => {
            let log = parts.join(format!("{}.log", program.test));
            collected.missing.push(format!("{} ended with {status}: {}", program.test, complaint(&log)));
        }
        Err(error) => collected.missing.push(format!("{} could not be run: {error}", program.test)),
    }
    for name in &program.writes {
        match read_part(&parts.join(format!("{name}.json"))) {
            Ok(part) => collected.parts.push(part),
            Err(why) => collected.missing.push(format!("the part {name} of {}: {why}", program.test)),
        }
    }
    collected
}

fn start(
    program: &PartProgram,
    path: &Path,
    directory: &Path,
    full: bool,
) -> std::io::Result<std::process::ExitStatus> {
    let parts = directory.join("parts");
    std::fs::create_dir_all(&parts)?;
    let log = File::create(parts.join(format!("{}.log", program.test)))?;
    let mut command = Command::new(path);
    command.args(&program.filter).arg("--nocapture").env(PROOF_DIR, directory).stdin(Stdio::null());
    // A guest has numbers of its own: it is emulated, and an order of magnitude slower.
    if !in_guest() {
        command.envs(if full { &program.full } else { &program.quick });
    }
    command.stdout(log.try_clone()?).stderr(log);
    command.status()
}

fn read_part(path: &PathBuf) -> Result<Part, String> {
    let text = std::fs::read_to_string(path).map_err(|_| "was not written".to_owned())?;
    let part: Part = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if part.schema == PART_SCHEMA { Ok(part) } else { Err(format!("is of another format, {}", part.schema)) }
}

/// The line of a log that says what went wrong.
fn complaint(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let panicked = text.lines().skip_while(|line| !line.contains("panicked at")).take(2).collect::<Vec<_>>().join(" ");
    let told = if panicked.is_empty() { text.lines().last().unwrap_or_default().to_owned() } else { panicked };
    super::attack::cut(&told)
}
