//! Leases of uids: one file for each uid, host-wide, whatever the state directory.
//!
//! A uid is leased while its file has content. The content goes away when the box is proved empty,
//! and not before: when everything was killed at once the file still names its box, and the uid is not
//! issued again until that box was collected. The flock only keeps two processes from the same file.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustbox_core::BoxId;
use rustix::fs::{Dir, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use crate::error::Error;
use crate::host::Host;
use crate::lock;

/// First uid of the range. 60001-60513 belong to systemd-homed, 65534 to nobody.
pub const FIRST_UID: u32 = 70_000;
/// Number of uids in the range.
pub const UIDS: u32 = 1000;

/// Longest content of a lease: a box id and a boot id.
const LEASE_BYTES: usize = 256;

/// A uid that belongs to one box.
#[derive(Debug)]
pub(crate) struct Lease {
    uid: u32,
    file: File,
}

/// What a lease file says.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    Free,
    Leased { box_id: String, boot_id: String },
    Unreadable,
}

impl Content {
    fn parse(text: &[u8]) -> Self {
        if text.is_empty() {
            return Self::Free;
        }
        match str::from_utf8(text).ok().and_then(|t| t.strip_suffix('\n')).and_then(|t| t.split_once(' ')) {
            Some((box_id, boot_id)) => Self::Leased { box_id: box_id.to_owned(), boot_id: boot_id.to_owned() },
            None => Self::Unreadable,
        }
    }
}

impl Lease {
    /// Finds a free uid, beginning at a random one so that a uid is not used again at once, and locks its
    /// file. The lease begins with [`Self::begin`].
    pub(crate) fn find(host: &Host, random: u64) -> Result<Self, Error> {
        let start = u32::try_from(random % u64::from(UIDS)).unwrap_or(0);
        for step in 0..UIDS {
            let uid = FIRST_UID + (start + step) % UIDS;
            if let Some(file) = try_lock(host, uid)?
                && is_free(&file, host, uid)?
            {
                return Ok(Self { uid, file });
            }
        }
        Err(Error::NoUid { first: FIRST_UID, last: FIRST_UID + UIDS - 1 })
    }

    /// Writes down whose uid it is.
    pub(crate) fn begin(&self, host: &Host, id: &BoxId) -> Result<(), Error> {
        let text = format!("{id} {}\n", host.boot_id());
        let written = self.file.write_all_at(text.as_bytes(), 0);
        if written.is_err() {
            // Half a lease would be nobody's, and never given back.
            let _ = self.file.set_len(0);
        }
        written.map_err(|source| self.failed(host, source))
    }

    /// Gives the uid back: only for a box that is proved empty.
    pub(crate) fn end(self, host: &Host) -> Result<(), Error> {
        self.file.set_len(0).map_err(|source| self.failed(host, source))
    }

    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn failed(&self, host: &Host, source: std::io::Error) -> Error {
        Error::Write { path: host.uids_path().join(self.uid.to_string()), source }
    }
}

/// Ends the lease that a dead box left, if the file still names that box. Somebody else's is left alone.
pub(crate) fn end_of(host: &Host, uid: u32, id: &BoxId) -> Result<(), Error> {
    if !(FIRST_UID..FIRST_UID + UIDS).contains(&uid) {
        return Ok(());
    }
    let Some(file) = try_lock(host, uid)? else { return Ok(()) };
    match read(&file, host, uid)? {
        Content::Leased { box_id, .. } if box_id == id.as_str() => {
            let lease = Lease { uid, file };
            lease.file.set_len(0).map_err(|source| lease.failed(host, source))?;
            // The record goes next, and with it the only word of this lease: so it is looked whether it is gone.
            match read(&lease.file, host, uid)? {
                Content::Free => Ok(()),
                Content::Leased { .. } | Content::Unreadable => {
                    Err(lease.failed(host, std::io::Error::other("the lease is still there")))
                }
            }
        }
        Content::Leased { .. } | Content::Free | Content::Unreadable => Ok(()),
    }
}

/// The same for a dead box whose record cannot be read, which may have any of them.
pub(crate) fn end_unrecorded(host: &Host, id: &BoxId) -> Result<(), Error> {
    uids(host)?.into_iter().try_for_each(|uid| end_of(host, uid, id))
}

/// Ends the leases that nobody ends any more: their holders are dead, no box of that name is left, and no process
/// has the uid. Returns the uids.
///
/// A supervisor that is killed together with its keeper before its record has its name leaves one.
pub(crate) fn reclaim(host: &Host) -> Result<Vec<u32>, Error> {
    let mut reclaimed = Vec::new();
    for uid in uids(host)? {
        let Some(file) = try_lock(host, uid)? else { continue };
        let is_left = match read(&file, host, uid)? {
            Content::Free => continue,
            Content::Leased { box_id, .. } => match box_id.parse::<BoxId>() {
                Ok(id) => lock::exists(host, &id) || host.hierarchies().open_existing(&id)?.is_some(),
                Err(_) => false,
            },
            Content::Unreadable => false,
        };
        if !is_left && !has_processes(uid) {
            Lease { uid, file }.end(host)?;
            reclaimed.push(uid);
        }
    }
    Ok(reclaimed)
}

/// The uids that have a file.
fn uids(host: &Host) -> Result<Vec<u32>, Error> {
    let failed = |errno: Errno| Error::Open { path: host.uids_path(), source: errno.into() };
    let mut uids = Vec::new();
    for entry in Dir::read_from(host.uids()).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let uid = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
        uids.extend(uid.filter(|uid| (FIRST_UID..FIRST_UID + UIDS).contains(uid)));
    }
    Ok(uids)
}

/// Whether any process has this uid, or could not be asked.
fn has_processes(uid: u32) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return true };
    for entry in entries {
        let Ok(entry) = entry else { return true };
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        match std::fs::read(entry.path().join("status")) {
            Ok(text) => {
                let line = text.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"Uid:")).unwrap_or_default();
                let mut ids = line.split(u8::is_ascii_whitespace).skip(1);
                if ids.any(|id| id == uid.to_string().as_bytes()) {
                    return true;
                }
            }
            // ESRCH: it ended between the opening and the reading.
            Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(3) => {}
            Err(_) => return true,
        }
    }
    false
}

fn try_lock(host: &Host, uid: u32) -> Result<Option<File>, Error> {
    let path = || host.uids_path().join(uid.to_string());
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd: OwnedFd = openat(host.uids(), uid.to_string(), flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| Error::Open { path: path(), source: errno.into() })?;
    match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(File::from(fd))),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(Error::Flock { path: path(), source: errno.into() }),
    }
}

/// What a lease says. A file that cannot be read is an error, and no uid that is taken.
fn read(file: &File, host: &Host, uid: u32) -> Result<Content, Error> {
    let mut text = [0; LEASE_BYTES];
    let length = file.read_at(&mut text, 0);
    let length = length.map_err(|source| Error::Read { path: host.uids_path().join(uid.to_string()), source })?;
    Ok(Content::parse(text.get(..length).unwrap_or_default()))
}

/// A lease of an earlier boot is void: nothing of that boot is alive.
fn is_free(file: &File, host: &Host, uid: u32) -> Result<bool, Error> {
    Ok(match read(file, host, uid)? {
        Content::Free => true,
        Content::Leased { boot_id, .. } => boot_id != host.boot_id() && file.set_len(0).is_ok(),
        Content::Unreadable => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_found_by_their_uid() {
        assert!(has_processes(rustix::process::geteuid().as_raw()));
        assert!(!has_processes(4_000_000_123));
    }

    #[test]
    fn a_torn_lease_is_not_free() {
        assert_eq!(Content::parse(b""), Content::Free);
        for torn in ["a", "a b", "a\n", "\0"] {
            assert_eq!(Content::parse(torn.as_bytes()), Content::Unreadable, "{torn:?}");
        }
        let leased = Content::Leased { box_id: "a".to_owned(), boot_id: "b".to_owned() };
        assert_eq!(Content::parse(b"a b\n"), leased);
    }
}
