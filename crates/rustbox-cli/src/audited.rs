//! What the audit is told of this host: records and locks, turned into marks.

use std::path::PathBuf;

use rustbox_audit::{
    BoxMarks, CgroupMark, CgroupMount, Phase, PidNamespaceMark, Registry, StaleEntry, parse_cgroup_mounts,
};
use rustbox_core::{ProcessKey, Record};
use rustbox_supervisor::{BoxView, FIRST_UID, Host, UIDS, list};

use crate::render::escape_text;

/// Everything that should exist, by the locks and records of this moment.
///
/// What cannot be read becomes a gap in the audit, never an empty list.
pub(crate) fn registry(host: &Host) -> Registry {
    let mut registry = Registry { uids: Some(FIRST_UID..=FIRST_UID + (UIDS - 1)), ..Registry::default() };
    let mounts = match std::fs::read("/proc/self/mountinfo") {
        Ok(text) => parse_cgroup_mounts(&text),
        Err(error) => {
            registry.unreadable.push(because("the mount table cannot be read", &error));
            return registry;
        }
    };
    match list(host) {
        Ok(views) => views.into_iter().for_each(|view| add(&mut registry, host, &mounts, view)),
        Err(error) => registry.unreadable.push(because("the boxes of this host cannot be listed", &error)),
    }
    registry
}

fn add(registry: &mut Registry, host: &Host, mounts: &[CgroupMount], view: BoxView) {
    let directory = host.boxes_path().join(view.box_id.as_str());
    if view.record.is_none() && view.cgroups.is_empty() && !directory.exists() {
        // It went away between being listed and being looked at.
        return;
    }
    let phase = phase(&view, host.boot_id());
    let mut marks = BoxMarks::new(view.box_id, phase);
    let recorded = view.record.iter().flat_map(|record| &record.cgroups);
    let mut paths: Vec<PathBuf> = view.cgroups.iter().chain(recorded).map(PathBuf::from).collect();
    paths.sort();
    paths.dedup();
    marks.cgroups = paths.iter().filter_map(|path| CgroupMark::locate(path, mounts)).collect();
    match view.record {
        Some(record) => {
            add_record(&mut marks, &record);
            marks.record = Some(directory);
        }
        None if phase == Phase::Unknown => {
            // A directory with a box's name may be anybody's: without a lock and a record it is named, and left alone.
            let left = std::iter::once(directory).filter(|path| path.exists());
            let empty = view.pids.as_ref().is_some_and(Vec::is_empty);
            let why = format!("{} has neither an owner nor a record here", marks.box_id.cgroup_name());
            let cgroups = paths.into_iter().filter(|path| empty && path.exists());
            registry.stale.extend(left.chain(cgroups).map(|path| StaleEntry { path, why: why.clone() }));
        }
        None => {}
    }
    registry.boxes.push(marks);
}

/// A lock that is held says alive. That none is held says dead only of a box that is known by its record.
fn phase(view: &BoxView, boot_id: &str) -> Phase {
    match (view.alive, &view.record) {
        (Some(true), _) => Phase::Live,
        (_, Some(record)) if record.boot_id != boot_id => Phase::EarlierBoot,
        (Some(false), Some(_)) => Phase::Abandoned,
        (Some(false) | None, _) => Phase::Unknown,
    }
}

fn add_record(marks: &mut BoxMarks, record: &Record) {
    marks.pid_namespace = record.pid_namespace.map(PidNamespaceMark::recorded);
    marks.audit_session = record.audit_session;
    marks.uid = Some(record.uid);
    marks.init = record.init;
    marks.supervisor = Some(ProcessKey { pid: record.pid, starttime_ticks: record.starttime_ticks });
    marks.supervisor_pid_namespace = record.supervisor_pid_namespace;
    // A record is a file that anybody with root's rights may have written.
    marks.notes = vec![
        format!("asked for at {}", escape_text(&record.timestamp)),
        format!("command {}", escape_text(&record.argv.join(" "))),
        format!("memory limit {} bytes, at most {} tasks", record.memory_max_bytes, record.pids_max),
    ];
}

fn because(what: &str, error: &dyn std::error::Error) -> String {
    format!("{what}: {}", crate::error::chain(error))
}
