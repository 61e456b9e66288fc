//! Removes what dead supervisors have left, and proves that nothing is left.
//!
//! Safe beside living boxes and beside another recovery: each box is collected under its locks, and one whose locks are
//! held is left alone. It may be killed at any point and started again, since a record goes away only after
//! everything that it stands for.
//!
//! Rustbox mounts nothing for a box on the host. What is mounted below the directory of a dead box was put there by somebody else, keeps
//! the directory from being removed, and is unmounted first, deepest first and never lazily: a lazy unmount hides what
//! holds it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rustbox_core::BoxId;
use rustbox_supervisor::{Collected, Host, Places, collect_all, list};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::clean::{Cleanliness, Look, Survey, survey};
use crate::error::Error;
use crate::event::Event;
use crate::host_facts::mounts;
use crate::leases;
use crate::resources::{Resources, Thresholds};
use crate::store::{Store, Updated};

/// What a recovery did, and what it came to.
#[derive(Debug)]
pub struct Recovery {
    /// What was done, one sentence each.
    pub done: Vec<String>,
    /// What could not be done.
    pub failed: Vec<String>,
    /// The look at the host after it.
    pub survey: Survey,
    /// What the worker is short of, if anything.
    pub shortage: Option<String>,
    /// What the worker is now.
    pub updated: Updated,
}

/// Recovers a worker.
///
/// # Errors
/// The host could not be looked at, or the state not be written: then nothing is known.
pub fn recover(host: &Host, places: &Places, store: &Store, thresholds: &Thresholds) -> Result<Recovery, Error> {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for point in mounts_of_dead(host, places)? {
        match unmount(&point, UnmountFlags::NOFOLLOW) {
            Ok(()) => done.push(format!("unmounted {}", point.display())),
            // Somebody else was faster.
            Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => failed.push(format!("mount_unmount_failed: {}: {errno}", point.display())),
        }
    }
    for (id, collected) in collect_all(host).map_err(Error::Boxes)? {
        note(&id, collected, &mut done, &mut failed);
    }
    let (freed, kept) = leases::free_dead(host)?;
    done.extend(freed.into_iter().map(|uid| format!("gave uid {uid} back")));
    failed.extend(kept);
    let survey = survey(host, places)?;
    let clean = match survey.cleanliness() {
        Cleanliness::Clean if !failed.is_empty() => Cleanliness::Unknown(failed.join("; ")),
        Cleanliness::Dirty(what) if !failed.is_empty() => Cleanliness::Dirty(format!("{what}; {}", failed.join("; "))),
        clean @ (Cleanliness::Clean | Cleanliness::Dirty(_) | Cleanliness::Unknown(_)) => clean,
    };
    let shortage = Resources::read(&places.state_dir)?.shortage(thresholds);
    let event = Event::Recovered { clean, shortage: shortage.clone() };
    let updated = store.update(&event, "rustbox health --recover")?;
    Ok(Recovery { done, failed, survey, shortage, updated })
}

/// Mount points below directories of boxes that nobody owns, deepest first.
fn mounts_of_dead(host: &Host, places: &Places) -> Result<Vec<PathBuf>, Error> {
    let boxes = list(host).map_err(Error::Boxes)?;
    let live: BTreeSet<BoxId> = boxes.into_iter().filter(|found| found.alive == Some(true)).map(|b| b.box_id).collect();
    let mut look = Look::default();
    mounts(places, &live, &mut look);
    let boxes = host.boxes_path();
    let points = look.left.into_iter().map(|left| PathBuf::from(left.which));
    let mut points: Vec<PathBuf> = points.filter(|point| point.starts_with(&boxes)).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    Ok(points)
}

fn note(
    id: &BoxId,
    collected: Result<Collected, rustbox_supervisor::Error>,
    done: &mut Vec<String>,
    failed: &mut Vec<String>,
) {
    match collected {
        Ok(Collected::Absent | Collected::Alive { .. }) => {}
        Ok(Collected::Removed { actions }) => done.push(format!("box {id}: {}", actions.join(", "))),
        Ok(Collected::Left { actions, remains }) => {
            done.push(format!("box {id}: {}", actions.join(", ")));
            failed.push(format!("box {id}: {}", remains.join("; ")));
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
            failed.push(format!("box {id}: {error}{cause}"));
        }
    }
}
