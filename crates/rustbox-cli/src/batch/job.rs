//! One line of the jobs, as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustbox_core::{BindAccess, ByteSize, RunPlan, RunSpec};
use serde::Deserialize;

use super::jobs;
use crate::config::Settings;

/// Most output that is kept in memory for a comparison, where no limit was asked for.
const COMPARED_MAX: ByteSize = ByteSize(64 << 20);

/// A text: a file's, or the job's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Source {
    Path(PathBuf),
    Text(String),
}

/// What a line says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<String>,
    #[serde(default)]
    argv: Vec<String>,
    code: Option<String>,
    #[serde(default)]
    run: RunSpec,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    bind: Vec<String>,
    #[serde(default)]
    ro_bind: Vec<String>,
    #[serde(default)]
    tmpfs: Vec<String>,
    stdin: Option<Source>,
    expected: Option<Source>,
    stdout: Option<PathBuf>,
    stderr: Option<PathBuf>,
}

/// A job that can be run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: Option<String>,
    pub(super) plan: RunPlan,
    pub(super) stdin: Option<Source>,
    pub(super) expected: Option<Source>,
}

/// A line that is no job: what is wrong, and its id where that could be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) id: Option<String>,
    pub(super) reason: String,
}

/// What can be read of a line that is no job.
#[derive(Deserialize)]
struct Named {
    id: Option<String>,
}

/// Reads a line, and names the key at which it is wrong.
fn read(line: &[u8]) -> Result<Line, Wrong> {
    // Else serde takes the elements of an array for the keys, in their order.
    if line.first().is_some_and(|first| *first != b'{') {
        return Err(Wrong { id: None, reason: "the line is no job: a job is a JSON object, {...}".to_owned() });
    }
    let mut text = serde_json::Deserializer::from_slice(line);
    let wrong = |at: &str, error: &serde_json::Error| {
        let id = serde_json::from_slice(line).ok().and_then(|named: Named| named.id);
        Wrong { id, reason: format!("the line is no job: {at}{error}") }
    };
    let read = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let path = error.path().to_string();
        // "." stands for the line as a whole.
        wrong(&if path == "." { String::new() } else { format!("{path}: ") }, error.inner())
    })?;
    text.end().map_err(|error| wrong("", &error))?;
    Ok(read)
}

impl Job {
    /// Reads one line, and lays it over what the configuration says.
    pub(super) fn parse(line: &jobs::Line, settings: &Settings) -> Result<Self, Wrong> {
        if line.is_cut {
            return Err(Wrong { id: None, reason: jobs::TOO_LONG.to_owned() });
        }
        let line = read(&line.text)?;
        let wrong = |reason: &str| Wrong { id: line.id.clone(), reason: reason.to_owned() };
        let argv = match (&line.code, line.argv.is_empty()) {
            (Some(_), false) => return Err(wrong("argv and code: a job has one of them")),
            (Some(text), true) => vec!["/bin/sh".into(), "-c".into(), text.into()],
            (None, _) => line.argv.iter().map(Into::into).collect(),
        };
        if line.expected.is_some() && line.stdout.is_some() {
            return Err(wrong("expected and stdout: the output is either compared or kept in a file"));
        }
        let mut spec = settings.run.clone();
        let mut above = line.run;
        above.argv = argv;
        above.env = line.env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let writable = line.bind.into_iter().map(|bind| (bind, BindAccess::Writable));
        above.binds = line.ro_bind.into_iter().map(|bind| (bind, BindAccess::ReadOnly)).chain(writable).collect();
        above.tmpfs = line.tmpfs;
        (above.stdout, above.stderr) = (line.stdout, line.stderr);
        spec.overlay(above);
        if line.expected.is_some() {
            spec.output_limit.get_or_insert(COMPARED_MAX);
        }
        let id = line.id;
        match spec.validate() {
            Ok(plan) => Ok(Self { id, plan, stdin: line.stdin, expected: line.expected }),
            Err(error) => Err(Wrong { id, reason: crate::error::chain(&error) }),
        }
    }
}
