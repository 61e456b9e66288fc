//! Removes what dead supervisors have left, and proves that nothing is left.
//!
//! Safe beside living boxes and beside another recovery: each box is collected under its locks, and one whose locks are
//! held is left alone. It may be killed at any point and started again, since a record goes away only after
//! everything that it stands for.

use rustbox_core::BoxId;
use rustbox_supervisor::{Collected, Host, Places, collect_all};

use crate::clean::{Cleanliness, Survey, survey};
use crate::error::Error;
use crate::event::Event;
use crate::leases;
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
    /// What the worker is now.
    pub updated: Updated,
}

/// Recovers a worker.
///
/// # Errors
/// The host could not be looked at, or the state not be written: then nothing is known.
pub fn recover(host: &Host, places: &Places, store: &Store) -> Result<Recovery, Error> {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
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
    let updated = store.update(&Event::Recovered { clean }, "rustbox health --recover")?;
    Ok(Recovery { done, failed, survey, updated })
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
