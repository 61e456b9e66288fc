//! `rustbox ps`, `rustbox kill` and `rustbox cleanup`.
//!
//! All three look at the host first and at records second: a box without a record is still a box, and
//! what is gone already is no error.

use std::time::{Duration, Instant};

use rustbox_core::BoxId;
use rustbox_supervisor::{Collected, Error, Host, collect, collect_all, list};
use rustix::event::{Timespec, poll};
use serde_json::json;

use super::host;
use crate::args::CleanupArgs;
use crate::config::Settings;
use crate::error::{COULD_NOT_LOOK, CliError, chain};
use crate::listed::ListedBox;
use crate::output::{print, say};
use crate::render::{boxes, escape_text};

/// What is left is named, and this is the exit code.
const SOMETHING_LEFT: u8 = 1;
/// How long whoever holds a killed box may take to remove it.
const HOLDER_LIMIT: Duration = Duration::from_secs(5);
/// How often it is looked whether it did: nothing tells us when a lock is given up.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// `rustbox ps`.
pub(crate) fn ps(settings: &Settings, json: bool) -> Result<u8, CliError> {
    let host = host::look(settings)?;
    let views = list(&host).map_err(CliError::CouldNotLook)?;
    let views: Vec<ListedBox> = views.into_iter().map(ListedBox::from).collect();
    if json {
        let object = json!({ "schema": "rustbox.ps/v1", "boxes": views });
        print(&(serde_json::to_string_pretty(&object).map_err(CliError::Json)? + "\n"))?;
    } else {
        print(&boxes(&views))?;
    }
    Ok(0)
}

/// `rustbox kill BOX`.
pub(crate) fn kill(settings: &Settings, name: &str) -> Result<u8, CliError> {
    let id: BoxId = name.parse().map_err(CliError::BoxName)?;
    let host = host::look(settings)?;
    Ok(tell(&id, kill_and_collect(&host, &id)))
}

/// `rustbox cleanup`.
pub(crate) fn cleanup(settings: &Settings, args: &CleanupArgs) -> Result<u8, CliError> {
    let named = args.box_id.as_deref().map(str::parse::<BoxId>).transpose().map_err(CliError::BoxName)?;
    let host = host::look(settings)?;
    if let Some(id) = named {
        return Ok(tell(&id, kill_and_collect(&host, &id)));
    }
    let mut code = 0;
    if args.all {
        for view in list(&host).map_err(CliError::CouldNotLook)? {
            // A living box without a record here is another state directory's.
            if view.alive == Some(true) && view.record.is_some() {
                code = worse(code, tell(&view.box_id, kill_and_collect(&host, &view.box_id)));
            }
        }
    }
    for (id, collected) in collect_all(&host).map_err(CliError::CouldNotLook)? {
        match collected {
            Ok(Collected::Alive { .. }) => {}
            other => code = worse(code, tell(&id, other)),
        }
    }
    Ok(code)
}

/// Kills a box and waits until whoever holds it has removed it: its supervisor, or another rustbox that collects what a
/// dead one left. What nobody holds is removed here.
fn kill_and_collect(host: &Host, id: &BoxId) -> Result<Collected, Error> {
    let killed = rustbox_supervisor::kill(host, id)?;
    let gone = match killed {
        Collected::Removed { .. } => killed,
        Collected::Alive { .. } => Collected::Absent,
        Collected::Absent | Collected::Left { .. } => return Ok(killed),
    };
    let deadline = Instant::now() + HOLDER_LIMIT;
    loop {
        match collect(host, id)? {
            Collected::Absent => return Ok(gone),
            Collected::Alive { .. } if Instant::now() < deadline => {
                // The outcome of the wait is nothing: the look that follows tells.
                let _ = poll(&mut [], Some(&LOOK_AGAIN));
            }
            other @ (Collected::Removed { .. } | Collected::Left { .. } | Collected::Alive { .. }) => return Ok(other),
        }
    }
}

/// Tells what became of a box, and returns the exit code for it.
fn tell(id: &BoxId, collected: Result<Collected, Error>) -> u8 {
    let (code, text) = match collected {
        Ok(Collected::Absent) => (0, "nothing is left".to_owned()),
        Ok(Collected::Removed { actions }) => {
            tracing::debug!(box_id = %id, ?actions, "box removed");
            (0, "removed, nothing is left".to_owned())
        }
        Ok(Collected::Alive { owner }) => {
            let owner = owner.map_or("another rustbox".to_owned(), |pid| format!("process {pid}"));
            (SOMETHING_LEFT, format!("empty or not, {owner} still holds it"))
        }
        Ok(Collected::Left { remains, .. }) => (SOMETHING_LEFT, format!("SOMETHING IS LEFT: {}", remains.join("; "))),
        Err(error) => (COULD_NOT_LOOK, format!("could not look: {}", chain(&error))),
    };
    say([format!("rustbox: {id}: {}", escape_text(&text))]);
    code
}

/// Something left is worse than something unknown, and both are worse than nothing left.
fn worse(left: u8, right: u8) -> u8 {
    match (left, right) {
        (SOMETHING_LEFT, _) | (_, SOMETHING_LEFT) => SOMETHING_LEFT,
        (left, right) => left.max(right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // D39.
    #[test]
    fn something_left_outranks_what_could_not_be_looked_at() {
        assert_eq!(worse(0, 0), 0);
        assert_eq!(worse(0, COULD_NOT_LOOK), COULD_NOT_LOOK);
        assert_eq!(worse(SOMETHING_LEFT, COULD_NOT_LOOK), SOMETHING_LEFT);
        assert_eq!(worse(COULD_NOT_LOOK, SOMETHING_LEFT), SOMETHING_LEFT);
    }
}
