//! Leases of uids that dead boxes have left.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use rustbox_core::BoxId;
use rustbox_supervisor::{Collected, Host, collect};
use rustix::fs::{FlockOperation, OFlags, flock};

use crate::clean::Look;
use crate::error::Error;

/// Longest lease: a box id and a boot id.
const LEASE_BYTES: u64 = 256;

/// The uids that living boxes have. Leases of dead ones are left over; those of an earlier boot are void.
pub(crate) fn read(host: &Host, live: &BTreeSet<BoxId>, look: &mut Look) -> BTreeSet<u32> {
    let mut leased = BTreeSet::new();
    let entries = match std::fs::read_dir(host.uids_path()) {
        Ok(entries) => entries,
        Err(error) => {
            look.unseen("lease", &error);
            return leased;
        }
    };
    for entry in entries.flatten() {
        let Some(uid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        match open(&entry.path()).and_then(|mut file| text_of(&mut file)) {
            Ok(text) => match owner(&text, host.boot_id()) {
                Some(id) if live.contains(&id) => {
                    leased.insert(uid);
                }
                Some(id) => look.found("lease", format!("uid {uid} of box {id}")),
                None => {}
            },
            Err(error) => look.unseen("lease", &error),
        }
    }
    leased
}

/// Gives back the uids of boxes that are proved to be gone, and names those of which that cannot be proved.
///
/// # Errors
/// The leases could not be listed.
pub(crate) fn free_dead(host: &Host) -> Result<(Vec<u32>, Vec<String>), Error> {
    let path = host.uids_path();
    let entries = std::fs::read_dir(&path).map_err(|source| Error::Open { path: path.clone(), source })?;
    let (mut freed, mut kept) = (Vec::new(), Vec::new());
    for entry in entries.flatten() {
        let Some(uid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(mut file) = open(&entry.path()) else { continue };
        // Held by a supervisor or a keeper: its box lives, or is being cleaned up.
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let text = text_of(&mut file).unwrap_or_default();
        let Some(id) = owner(&text, host.boot_id()) else { continue };
        match collect(host, &id) {
            Ok(Collected::Absent | Collected::Removed { .. }) => match file.set_len(0) {
                Ok(()) => freed.push(uid),
                Err(error) => kept.push(format!("uid {uid} of box {id}: {error}")),
            },
            Ok(Collected::Alive { .. }) => {}
            Ok(Collected::Left { remains, .. }) => kept.push(format!("uid {uid} of box {id}: {}", remains.join("; "))),
            Err(error) => kept.push(format!("uid {uid} of box {id}: {error}")),
        }
    }
    Ok((freed, kept))
}

fn open(path: &std::path::Path) -> std::io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    std::fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

fn text_of(file: &mut File) -> std::io::Result<String> {
    let mut text = String::new();
    file.take(LEASE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The box that a lease of this boot names.
fn owner(text: &str, boot_id: &str) -> Option<BoxId> {
    let (id, boot) = text.strip_suffix('\n')?.split_once(' ')?;
    (boot == boot_id).then(|| id.parse().ok()).flatten()
}
