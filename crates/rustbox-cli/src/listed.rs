//! A box as `rustbox ps` shows it.

use rustbox_core::{BoxId, BoxProcess, Record};
use rustbox_supervisor::BoxView;
use serde::Serialize;

use crate::render::escape_text;

/// A box with its processes. What could not be read is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ListedBox {
    /// Its name.
    pub(crate) box_id: BoxId,
    /// Whether somebody holds its lock.
    pub(crate) alive: Option<bool>,
    /// Its cgroup directories.
    pub(crate) cgroups: Vec<String>,
    /// The members of the first of them, its init included, by pid.
    pub(crate) pids: Option<Vec<u32>>,
    /// The same, with what else could be read of each.
    pub(crate) processes: Option<Vec<BoxProcess>>,
    /// Its record, where there is one in this state directory.
    pub(crate) record: Option<Record>,
}

impl From<BoxView> for ListedBox {
    fn from(view: BoxView) -> Self {
        let BoxView { box_id, alive, cgroups, pids, record, .. } = view;
        let processes = pids.as_ref().map(|pids| pids.iter().copied().map(describe).collect());
        Self { box_id, alive, cgroups, pids, processes, record }
    }
}

/// What can still be read of a process; that it is a member of the cgroup is known anyway.
fn describe(pid: u32) -> BoxProcess {
    let stat = i32::try_from(pid).ok().and_then(|pid| procfs::process::Process::new(pid).ok()?.stat().ok());
    let stat = stat.as_ref();
    BoxProcess {
        pid,
        starttime_ticks: stat.map(|stat| stat.starttime),
        comm: stat.map(|stat| escape_text(&stat.comm)),
        session: stat.and_then(|stat| stat.session.try_into().ok()),
        process_group: stat.and_then(|stat| stat.pgrp.try_into().ok()),
        state: stat.map(|stat| stat.state),
    }
}
