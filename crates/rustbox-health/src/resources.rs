//! What this worker may run out of: room and inodes where its state lives, descriptors, memory.
//!
//! A worker that has none left fails in the middle of things: its records are torn, its cleanups fail, its quarantine
//! cannot be written. So it stops before that, while there is still room to say so.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use rustix::fs::statvfs;
use rustix::io::Errno;
use serde::Serialize;

use crate::error::Error;

const FILE_NR: &str = "/proc/sys/fs/file-nr";
const MEMINFO: &str = "/proc/meminfo";
/// Room for either file; `meminfo` has about 1,500 bytes, and what is looked for is in its third line.
const KERNEL_FILE_BYTES: usize = 4096;

/// Below this much of something the worker quarantines itself. 0 switches the check off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Free bytes on the file system of the state directory.
    pub disk_bytes: u64,
    /// Free inodes there.
    pub inodes: u64,
    /// Open file descriptions that the whole host may still make.
    pub descriptors: u64,
    /// Memory that the kernel calls available, in bytes.
    pub memory_bytes: u64,
}

impl Default for Thresholds {
    /// Far more than one box's records need, and far less than a host in good health has.
    fn default() -> Self {
        Self { disk_bytes: 64 << 20, inodes: 1024, descriptors: 1024, memory_bytes: 64 << 20 }
    }
}

/// How much is left. What has no limit, or could not be found out, is null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Free bytes on the file system of the state directory, as `df` shows them.
    pub disk_free_bytes: Option<u64>,
    /// Free inodes there; null on a file system that makes them as they are needed.
    pub inodes_free: Option<u64>,
    /// Open file descriptions that the whole host may still make.
    pub descriptors_free: Option<u64>,
    /// Memory that the kernel calls available.
    pub memory_available_bytes: Option<u64>,
}

impl Resources {
    /// Looks: two small files of the kernel, and one call for the file system.
    ///
    /// # Errors
    /// One of them could not be read.
    pub fn read(state_dir: &Path) -> Result<Self, Error> {
        let disk = nearest(state_dir)?;
        let text = |path| kernel_text(path).map_err(|source| Error::ReadKernel { path, source });
        let (handles, memory) = (text(FILE_NR)?, text(MEMINFO)?);
        Ok(Self {
            disk_free_bytes: Some(disk.f_bavail.saturating_mul(disk.f_frsize)),
            inodes_free: (disk.f_files > 0).then_some(disk.f_favail),
            descriptors_free: descriptors(&handles),
            memory_available_bytes: available(&memory),
        })
    }

    /// What there is too little of, in words; none when there is enough of everything.
    #[must_use]
    pub fn shortage(&self, thresholds: &Thresholds) -> Option<String> {
        let rows = [
            ("bytes free on the disk of the state directory", self.disk_free_bytes, thresholds.disk_bytes),
            ("inodes free on the disk of the state directory", self.inodes_free, thresholds.inodes),
            ("file descriptors free on this host", self.descriptors_free, thresholds.descriptors),
            ("bytes of memory available", self.memory_available_bytes, thresholds.memory_bytes),
        ];
        let short = rows.into_iter().filter_map(|(what, left, least)| {
            let left = left.filter(|left| *left < least)?;
            Some(format!("{left} {what}, {least} are required"))
        });
        let short: Vec<String> = short.collect();
        (!short.is_empty()).then(|| short.join("; "))
    }
}

/// A small file of the kernel's, which it makes whole for one `read`: every run pays for each call here.
fn kernel_text(path: &str) -> std::io::Result<String> {
    let mut text = vec![0; KERNEL_FILE_BYTES];
    let length = File::open(path)?.read(&mut text)?;
    text.truncate(length);
    String::from_utf8(text).map_err(|_| ErrorKind::InvalidData.into())
}

/// The file system of a path, or of the nearest directory above it that exists.
fn nearest(path: &Path) -> Result<rustix::fs::StatVfs, Error> {
    for path in path.ancestors().filter(|path| !path.as_os_str().is_empty()) {
        match statvfs(path) {
            Err(Errno::NOENT) => {}
            found => return found.map_err(|errno| Error::Read { path: path.to_owned(), source: errno.into() }),
        }
    }
    Err(Error::Read { path: path.to_owned(), source: ErrorKind::NotFound.into() })
}

/// What may still be opened: `<allocated> <free of those> <most>`.
fn descriptors(text: &str) -> Option<u64> {
    let mut fields = text.split_ascii_whitespace().map(str::parse::<u64>);
    let (Ok(allocated), Ok(spare), Ok(most)) = (fields.next()?, fields.next()?, fields.next()?) else { return None };
    Some(most.saturating_sub(allocated.saturating_sub(spare)))
}

/// `MemAvailable:    8123456 kB`.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: Resources = Resources {
        disk_free_bytes: Some(u64::MAX),
        inodes_free: None,
        descriptors_free: Some(u64::MAX),
        memory_available_bytes: Some(u64::MAX),
    };

    // Q07: each of the four, at the threshold and one below.
    #[test]
    fn each_resource_is_short_below_its_threshold_and_not_at_it() {
        let thresholds = Thresholds { disk_bytes: 10, inodes: 20, descriptors: 30, memory_bytes: 40 };
        assert_eq!(
            PLENTY.shortage(&thresholds),
            None,
            "a file system without a number of inodes is never short of them"
        );
        let with = |disk, inodes, descriptors, memory| Resources {
            disk_free_bytes: Some(disk),
            inodes_free: Some(inodes),
            descriptors_free: Some(descriptors),
            memory_available_bytes: Some(memory),
        };
        assert_eq!(with(10, 20, 30, 40).shortage(&thresholds), None);
        for (short, word) in [
            (with(9, 20, 30, 40), "9 bytes free on the disk"),
            (with(10, 19, 30, 40), "19 inodes"),
            (with(10, 20, 29, 40), "29 file descriptors"),
            (with(10, 20, 30, 39), "39 bytes of memory"),
        ] {
            assert!(short.shortage(&thresholds).unwrap().starts_with(word), "{short:?}");
        }
        let off = Thresholds { disk_bytes: 0, inodes: 0, descriptors: 0, memory_bytes: 0 };
        assert_eq!(with(0, 0, 0, 0).shortage(&off), None);
    }

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(descriptors("1184\t0\t9223372036854775807\n"), Some(i64::MAX as u64 - 1184));
        assert_eq!(descriptors("900\t100\t1000\n"), Some(200));
        assert_eq!(descriptors("x"), None);
        assert_eq!(available("MemTotal:  9 kB\nMemAvailable:     2 kB\n"), Some(2048));
        let seen = Resources::read(Path::new("/var/lib/there/is/no/such/directory")).unwrap();
        assert!(seen.disk_free_bytes.is_some() && seen.memory_available_bytes.is_some(), "{seen:?}");
    }
}
