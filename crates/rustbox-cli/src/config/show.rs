//! The effective settings, taken from the plan that a run would get: what is shown is what is done.

use rustbox_core::{ByteSize, Mode, RootSource, RunPlan, Seconds, SpecError, TmpfsMount};

use super::Settings;

/// One effective setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    /// The key of the configuration file.
    pub(crate) key: &'static str,
    /// Its value as it would be written in a TOML file; none for a limit or place that is not set.
    pub(crate) value: Option<String>,
}

/// Every setting and its value.
///
/// # Errors
/// What keeps the settings as a whole from being a plan.
pub(crate) fn effective(settings: &Settings) -> Result<Vec<Effective>, SpecError> {
    let mut spec = settings.run.clone();
    // Plans are made of something to run; what it is shows nowhere.
    spec.argv = vec!["true".into()];
    let plan = spec.validate()?;
    let mut rows = places(settings);
    rows.extend(least(settings));
    rows.extend(isolation(&plan));
    rows.extend(limits(&plan));
    rows.extend(inside(settings, &plan));
    Ok(rows)
}

fn row(key: &'static str, value: Option<String>) -> Effective {
    Effective { key, value }
}

fn quoted(text: impl std::fmt::Display) -> Option<String> {
    Some(toml::Value::String(text.to_string()).to_string())
}

fn size(bytes: Option<u64>) -> Option<String> {
    bytes.and_then(|bytes| quoted(ByteSize(bytes)))
}

fn places(settings: &Settings) -> Vec<Effective> {
    vec![
        row("state_dir", quoted(settings.state_dir.display())),
        row("runtime_dir", quoted(settings.runtime_dir.display())),
        row("cgroup_root", settings.cgroup_root.as_ref().and_then(|dir| quoted(dir.display()))),
        row("cgroup_backend", settings.run.cgroup_backend.and_then(quoted)),
    ]
}

fn least(settings: &Settings) -> Vec<Effective> {
    let least = &settings.thresholds;
    vec![
        row("min_free_disk", size(Some(least.disk_bytes))),
        row("min_free_inodes", Some(least.inodes.to_string())),
        row("min_free_descriptors", Some(least.descriptors.to_string())),
        row("min_free_memory", size(Some(least.memory_bytes))),
    ]
}

/// A word that a unit enum is written as.
fn word(value: impl serde::Serialize) -> Option<String> {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().and_then(quoted))
}

fn isolation(plan: &RunPlan) -> Vec<Effective> {
    let answer = |on: bool| Some(on.to_string());
    let spaces = plan.namespaces;
    vec![
        row("strict_mode", answer(plan.mode == Mode::Strict)),
        row("pid_namespace", answer(spaces.pid)),
        row("mount_namespace", answer(spaces.mount)),
        row("ipc_namespace", answer(spaces.ipc)),
        row("uts_namespace", answer(spaces.uts)),
        row("cgroup_namespace", answer(spaces.cgroup)),
        row("time_namespace", answer(spaces.time)),
        row("net", word(plan.network)),
        row("seccomp", word(plan.seccomp)),
        row("wait", word(plan.wait)),
        row("wait_for_box", plan.wait_for_box.and_then(|time| quoted(Seconds(time)))),
    ]
}

fn limits(plan: &RunPlan) -> Vec<Effective> {
    let limits = &plan.limits;
    let time = |time: Option<std::time::Duration>| time.and_then(|time| quoted(Seconds(time)));
    let tmpfs = |target: &str| plan.tmpfs.iter().find(|mount| mount.target.as_os_str() == target);
    let tmpfs_size = |mount: Option<&TmpfsMount>| size(mount.map(|mount| mount.size.0));
    vec![
        row("mem", size(Some(limits.memory.bytes()))),
        row("pids", Some(limits.pids.tasks().to_string())),
        row("time", time(limits.cpu_time)),
        row("wall_time", time(limits.wall_time)),
        row("extra_time", time(Some(limits.extra_time))),
        row("cpus", limits.cpus.and_then(|rate| quoted(f64::from(rate.milli_cpus) / 1000.0))),
        row("cpuset", limits.cpuset.as_ref().and_then(|set| quoted(set.as_str()))),
        row("fsize", size(limits.process.file_size)),
        row("open_files", Some(limits.process.open_files.to_string())),
        row("stack", size(limits.process.stack)),
        row("core", size(Some(limits.process.core))),
        row("address_space", size(limits.process.address_space)),
        row("output_limit", size(limits.output)),
        row("tmp_size", tmpfs_size(tmpfs("/tmp"))),
        row("box_size", tmpfs_size(tmpfs("/box"))),
    ]
}

fn inside(settings: &Settings, plan: &RunPlan) -> Vec<Effective> {
    let list = |items: Vec<String>| {
        let array = items.into_iter().map(toml::Value::String).collect();
        Some(toml::Value::Array(array).to_string())
    };
    let binds = |wanted: rustbox_core::BindAccess| {
        let chosen = settings.run.binds.iter().filter(|(_, access)| *access == wanted);
        list(chosen.map(|(text, _)| text.clone()).collect())
    };
    let rootfs = match &plan.root {
        RootSource::Host => None,
        RootSource::Directory(dir) => quoted(dir.display()),
    };
    let variables = settings.run.env.iter();
    let variables = variables.map(|(name, value)| format!("{}={}", name.display(), value.display()));
    vec![
        row("rootfs", rootfs),
        row("bind", binds(rustbox_core::BindAccess::Writable)),
        row("ro_bind", binds(rustbox_core::BindAccess::ReadOnly)),
        row("tmpfs", list(settings.run.tmpfs.clone())),
        row("chdir", quoted(plan.command.cwd.display())),
        row("hostname", quoted(&plan.hostname)),
        row("env", list(variables.collect())),
    ]
}
