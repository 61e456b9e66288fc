//! What is left of a box besides processes: cgroups, directories, mount points, records. Pure.

use rustbox_core::FindingKind;

use crate::classify::{Classification, Look};
use crate::describe::{describe_box_gap, describe_path, shown_path};
use crate::reading::{Reading, Unread};
use crate::registry::{BoxMarks, Phase};

/// One thing that should not be there any more, as one look saw it.
struct Leftover<'a> {
    marks: &'a BoxMarks,
    what: &'static str,
    path: String,
    inode: Reading<u64>,
}

/// Finds leftovers of boxes that nobody owns: the same thing in the last two looks.
pub(crate) fn find_residue(looks: &[Look], out: &mut Classification) {
    let Some((last, before)) = looks.split_last() else { return };
    let earlier = before.last().map(leftovers);
    for leftover in leftovers(last) {
        let (box_id, path) = (&leftover.marks.box_id, &leftover.path);
        match leftover.inode {
            Err(Unread::Vanished) => {}
            Err(Unread::Denied | Unread::Failed(_)) => {
                let what = format!("{} {path} of box {box_id} cannot be looked at", leftover.what);
                out.findings.push(describe_box_gap(what, Some(leftover.marks), looks));
            }
            Ok(inode) => {
                let same = |other: &&Leftover<'_>| {
                    other.path == *path && other.inode == Ok(inode) && other.marks.phase == leftover.marks.phase
                };
                let seen_twice = earlier.as_ref().is_some_and(|others| others.iter().any(|other| same(&other)));
                if !seen_twice {
                    out.unsettled.push(format!("{} {path} of box {box_id} is there, seen once", leftover.what));
                    continue;
                }
                let kind = if leftover.marks.phase == Phase::Closed {
                    FindingKind::PostCleanupLeak
                } else {
                    FindingKind::StaleState
                };
                let what = format!("{} {path} of box {box_id} is left, and nobody owns the box", leftover.what);
                out.findings.push(describe_path(kind, what, leftover.path, Some(leftover.marks), looks));
            }
        }
    }
    let known = before.last().map(|look| look.registry.stale.as_slice()).unwrap_or_default();
    for stale in &last.registry.stale {
        if !known.contains(stale) {
            out.unsettled.push(format!("{} is left, seen once", shown_path(&stale.path)));
            continue;
        }
        out.findings.push(describe_path(
            FindingKind::StaleState,
            stale.why.clone(),
            shown_path(&stale.path),
            None,
            looks,
        ));
    }
}

fn leftovers(look: &Look) -> Vec<Leftover<'_>> {
    let boxes = &look.registry.boxes;
    let cgroups = look.snapshot.cgroups.iter().filter_map(|seen| {
        let marks =
            boxes.get(seen.box_index).filter(|marks| matches!(marks.phase, Phase::Abandoned | Phase::Closed))?;
        let path = shown_path(&marks.cgroups.get(seen.mark_index)?.directory);
        Some(Leftover {
            marks,
            what: "cgroup",
            path,
            inode: seen.state.as_ref().map(|state| state.inode).map_err(|why| *why),
        })
    });
    let paths = look.snapshot.paths.iter().filter_map(|seen| {
        let marks = boxes.get(seen.box_index)?;
        let (what, path) = match seen.path_index {
            Some(index) => ("directory", marks.paths.get(index)?),
            // The record of a closed box is how it is known to be closed.
            None if marks.phase == Phase::Closed => return None,
            None => ("record", marks.record.as_ref()?),
        };
        Some(Leftover { marks, what, path: shown_path(path), inode: seen.state })
    });
    cgroups.chain(paths).collect()
}
