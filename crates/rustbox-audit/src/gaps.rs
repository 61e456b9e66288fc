//! What could not be looked at. Pure. Without these findings, "nothing found" would mean nothing.

use std::collections::BTreeMap;

use crate::classify::{Classification, Look};
use crate::describe::{describe_box_gap, shown_path};
use crate::reading::{ProcFile, Unread};
use crate::registry::{BoxMarks, Phase};

/// Pids that are named in one gap; the number of the others is told.
const PIDS_NAMED: usize = 8;

/// Finds the gaps of the last look.
pub(crate) fn find_gaps(looks: &[Look], out: &mut Classification) {
    let Some(last) = looks.last() else { return };
    let mut gaps: Vec<(String, Option<&BoxMarks>)> = Vec::new();
    gaps.extend(last.registry.unreadable.iter().map(|why| (why.clone(), None)));
    gaps.extend(unread_processes(last).into_iter().map(|what| (what, None)));
    let observer = &last.snapshot.observer;
    for (pid, whose) in [(1, "process 1"), (observer.pid, "the auditor")] {
        // Pids are listed in ascending order by the kernel, but a tree of files lists them as it likes.
        if !last.snapshot.pids.contains(&pid) {
            gaps.push((
                format!("{whose} is not listed in the process directory: processes are hidden (hidepid)"),
                None,
            ));
        }
    }
    let before = looks.len().checked_sub(2).and_then(|index| looks.get(index));
    for marks in &last.registry.boxes {
        // A box that is being made or removed is between its record and its cgroups for a moment.
        let was_unseen = before.is_some_and(|look| {
            let same = look.registry.boxes.iter().find(|other| other.box_id == marks.box_id);
            same.is_some_and(|other| unseen_box(look, other).is_some())
        });
        if was_unseen {
            gaps.extend(unseen_box(last, marks).map(|what| (what, Some(marks))));
        }
    }
    for seen in &last.snapshot.cgroups {
        let Some(marks) = last.registry.boxes.get(seen.box_index) else { continue };
        let Some(mark) = marks.cgroups.get(seen.mark_index) else { continue };
        let directory = shown_path(&mark.directory);
        match &seen.state {
            Ok(state) if state.foreign_members > 0 => {
                let what = format!(
                    "{} members of {directory} are not in a PID namespace that can be seen from here",
                    state.foreign_members
                );
                gaps.push((what, Some(marks)));
            }
            Err(Unread::Denied | Unread::Failed(_)) if matches!(marks.phase, Phase::Live | Phase::Unknown) => {
                gaps.push((format!("cgroup {directory} cannot be read"), Some(marks)));
            }
            // A missing directory is what should be, and other unreadable ones are told with the leftovers.
            Ok(_) | Err(_) => {}
        }
    }
    out.findings.extend(gaps.into_iter().map(|(what, marks)| describe_box_gap(what, marks, looks)));
}

/// One sentence per file and reason, however many processes it is.
fn unread_processes(look: &Look) -> Vec<String> {
    let mut by_reason: BTreeMap<(&str, String), Vec<u32>> = BTreeMap::new();
    for unread in &look.snapshot.unread {
        let why = match unread.why {
            Unread::Vanished => continue,
            Unread::Denied => "permission denied".to_owned(),
            Unread::Failed(0) => "text that is not understood".to_owned(),
            Unread::Failed(errno) => format!("error {errno}"),
        };
        by_reason.entry((file_name(unread.file), why)).or_default().push(unread.pid);
    }
    let sentence = |((file, why), pids): ((&str, String), Vec<u32>)| {
        let named: Vec<String> = pids.iter().take(PIDS_NAMED).map(u32::to_string).collect();
        let more = if pids.len() > PIDS_NAMED { ", ..." } else { "" };
        format!("{file} of {} processes cannot be read, {why} (pids {}{more})", pids.len(), named.join(", "))
    };
    by_reason.into_iter().map(sentence).collect()
}

fn file_name(file: ProcFile) -> &'static str {
    match file {
        ProcFile::PidNamespace => "ns/pid",
        ProcFile::SessionId => "sessionid",
        ProcFile::Owner => "the owner",
        ProcFile::Stat => "stat",
        ProcFile::Status => "status",
        ProcFile::Cgroup => "cgroup",
        ProcFile::LivingThreadCgroup => "task/*/cgroup",
        ProcFile::Exe => "exe",
        ProcFile::Cmdline => "cmdline",
        ProcFile::Wchan => "wchan",
    }
}

/// Why the processes of a box could be missed altogether.
fn unseen_box(look: &Look, marks: &BoxMarks) -> Option<String> {
    if marks.phase == Phase::EarlierBoot || marks.phase.was_ended() {
        return None;
    }
    let observer = &look.snapshot.observer;
    let id = &marks.box_id;
    let namespace = marks.pid_namespace.as_ref().map(|mark| mark.inode());
    if namespace == Some(observer.pid_namespace) {
        return Some(format!("box {id} is recorded in the auditor's own PID namespace: it has none of its own"));
    }
    if namespace.is_none() && marks.audit_session.is_none() && marks.cgroups.is_empty() {
        return Some(format!("nothing by which a process could be known is recorded of box {id}"));
    }
    let foreign = marks.supervisor_pid_namespace.filter(|inode| *inode != observer.pid_namespace)?;
    let is_visible = look
        .snapshot
        .candidates
        .iter()
        .any(|process| process.lineage.iter().any(|inode| *inode == foreign || Some(*inode) == namespace));
    (!is_visible)
        .then(|| format!("box {id} was made in PID namespace pid:[{foreign}], of which nothing can be seen from here"))
}
