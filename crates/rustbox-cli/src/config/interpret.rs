//! From keys and values to settings, with everything that is wrong named by key and line.

use std::path::{Path, PathBuf};

use rustbox_core::{BindAccess, ByteSize, RunSpec, SpecError};
use serde_json::{Map, Value};

use super::entries::{Entry, json_message};
use super::{FileSettings, Problem};

/// Keys besides those of a run: where things are on this host.
const PLACES: [&str; 3] = ["state_dir", "runtime_dir", "cgroup_root"];
/// Keys for what a worker may run out of: the first and the last are sizes, the others are numbers.
const LEAST: [&str; 4] = ["min_free_disk", "min_free_inodes", "min_free_descriptors", "min_free_memory"];
/// Keys that hold lists of texts, each written as the flag of that name takes it.
const LISTS: [&str; 4] = ["bind", "ro_bind", "tmpfs", "env"];
/// How far a mistyped key may be from the one that is suggested, in letters.
const SUGGESTION_DISTANCE: usize = 2;

/// Turns a file's entries into settings.
pub(super) fn interpret(path: &Path, entries: &[Entry]) -> Result<FileSettings, Vec<Problem>> {
    let mut settings = FileSettings::default();
    let mut problems = Vec::new();
    let mut run = Map::new();
    for entry in entries {
        let refuse = |reason| problem(path, entry, reason);
        match interpret_one(entry, &mut settings) {
            Ok(Some(canonical)) if run.contains_key(&canonical) => {
                problems.push(refuse(format!("duplicate key: the same as {canonical}")));
            }
            Ok(Some(canonical)) => {
                settings.lines.push((canonical.clone(), entry.line));
                run.insert(canonical, entry.value.clone());
            }
            Ok(None) => settings.lines.push((entry.key.clone(), entry.line)),
            Err(reason) => problems.push(refuse(reason)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let lists = std::mem::take(&mut settings.run);
    let whole = RunSpec { binds: lists.binds, tmpfs: lists.tmpfs, env: lists.env, ..run_spec(run).unwrap_or_default() };
    settings.run = whole;
    Ok(settings)
}

/// Checks one entry by itself. A key of a run is returned by its own name; what else there is goes into `settings`.
fn interpret_one(entry: &Entry, settings: &mut FileSettings) -> Result<Option<String>, String> {
    let key = entry.key.as_str();
    if PLACES.contains(&key) {
        let directory = absolute(&entry.value)?;
        match key {
            "state_dir" => settings.state_dir = Some(directory),
            "runtime_dir" => settings.runtime_dir = Some(directory),
            _ => settings.cgroup_root = Some(directory),
        }
        return Ok(None);
    }
    if LEAST.contains(&key) {
        let least = &mut settings.thresholds;
        match key {
            "min_free_disk" => least.disk_bytes = size(&entry.value)?,
            "min_free_inodes" => least.inodes = number(&entry.value)?,
            "min_free_descriptors" => least.descriptors = number(&entry.value)?,
            _ => least.memory_bytes = size(&entry.value)?,
        }
        return Ok(None);
    }
    if LISTS.contains(&key) {
        add_list(key, texts(&entry.value)?, &mut settings.run)?;
        return Ok(None);
    }
    let single = Map::from_iter([(entry.key.clone(), entry.value.clone())]);
    let spec = run_spec(single).map_err(|e| unknown_or(key, &json_message(&e)))?;
    let canonical = written_keys(&spec).next().ok_or("null is no value; leave the key out")?;
    check_range(spec)?;
    Ok(Some(canonical))
}

fn problem(path: &Path, entry: &Entry, reason: String) -> Problem {
    Problem { file: path.to_owned(), line: Some(entry.line), key: Some(entry.key.clone()), reason }
}

fn run_spec(map: Map<String, Value>) -> Result<RunSpec, serde_json::Error> {
    serde_json::from_value(Value::Object(map))
}

/// The keys that have a value in a spec, by the names under which they are serialised.
fn written_keys(spec: &RunSpec) -> impl Iterator<Item = String> {
    let object = match serde_json::to_value(spec) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    object.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key)
}

/// Every key that a file may have, without the aliases.
pub(super) fn known_keys() -> Vec<String> {
    let run = match serde_json::to_value(RunSpec::default()) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    run.into_iter()
        .map(|(key, _)| key)
        .chain(PLACES.iter().chain(&LEAST).chain(&LISTS).map(|key| (*key).to_owned()))
        .collect()
}

/// The message for a key that a run does not have, or the parser's for a value that does not fit.
fn unknown_or(key: &str, message: &str) -> String {
    if !message.starts_with("unknown field") {
        return message.to_owned();
    }
    let near = known_keys().into_iter().map(|known| (distance(key, &known), known)).min();
    match near {
        Some((far, known)) if far <= SUGGESTION_DISTANCE => format!("unknown key; did you mean {known}?"),
        _ => "unknown key; `rustbox config show` lists all of them".to_owned(),
    }
}

/// Checks the range of a value by making a plan of nothing else. A control that is switched off is no
/// mistake of the file: that is decided with the mode, at the run.
fn check_range(spec: RunSpec) -> Result<(), String> {
    let spec = RunSpec { argv: vec!["true".into()], ..spec };
    match spec.validate() {
        Ok(_) | Err(SpecError::ControlOff { .. }) => Ok(()),
        Err(SpecError::Value { reason, .. }) => Err(reason),
        Err(other) => Err(crate::error::chain(&other)),
    }
}

fn absolute(value: &Value) -> Result<PathBuf, String> {
    let path = value.as_str().map(PathBuf::from).ok_or("expected a path in quotes")?;
    if path.is_absolute() { Ok(path) } else { Err(format!("{} is not an absolute path", path.display())) }
}

fn number(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| "expected a whole number from 0".to_owned())
}

fn size(value: &Value) -> Result<u64, String> {
    serde_json::from_value::<ByteSize>(value.clone()).map(|size| size.0).map_err(|e| json_message(&e))
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let items = value.as_array().ok_or("expected a list of texts")?;
    items.iter().map(|item| item.as_str().map(str::to_owned).ok_or("expected a list of texts".to_owned())).collect()
}

fn add_list(key: &str, items: Vec<String>, run: &mut RunSpec) -> Result<(), String> {
    let mut spec = RunSpec::default();
    match key {
        "bind" => spec.binds = items.into_iter().map(|item| (item, BindAccess::Writable)).collect(),
        "ro_bind" => spec.binds = items.into_iter().map(|item| (item, BindAccess::ReadOnly)).collect(),
        "tmpfs" => spec.tmpfs = items,
        _ => {
            let parsed = items.iter().map(|item| crate::args::EnvArg::parse(item.as_ref()));
            let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
            spec.env = parsed.into_iter().filter_map(crate::args::EnvArg::resolve).collect();
        }
    }
    check_range(spec.clone())?;
    run.binds.extend(spec.binds);
    run.tmpfs.extend(spec.tmpfs);
    run.env.extend(spec.env);
    Ok(())
}

/// Edit distance of two short texts: letters to insert, delete or replace.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replace = corner + usize::from(a != *b);
            corner = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(corner + 1);
        }
    }
    row[right.len()]
}
