//! Reading a configuration file that can be trusted.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Largest configuration file, in bytes: a larger one is a mistaken path.
const MAX_BYTES: u64 = 1 << 20;
const GROUP_WRITE: u32 = 0o020;
const WORLD_WRITE: u32 = 0o002;

/// Why a configuration file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("could not open the configuration file")]
    Open(#[source] std::io::Error),
    #[error("could not read the configuration file")]
    Read(#[source] std::io::Error),
    #[error("not a regular file")]
    NotRegular,
    #[error("larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("not UTF-8 text")]
    NotText,
    #[error("owned by uid {uid}, while rustbox runs as root: whoever owns it decides what root does (chown root FILE)")]
    Owner { uid: u32 },
    #[error("writable by others than root (mode {mode:04o}), while rustbox runs as root (chmod go-w FILE)")]
    Writable { mode: u32 },
}

/// Reads the file; as root only one that nobody but root can write.
pub(super) fn read(path: &Path) -> Result<String, ReadError> {
    // O_NONBLOCK: a fifo in the place of the file must not make us wait for its writer.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(ReadError::Open)?;
    let meta = file.metadata().map_err(ReadError::Read)?;
    if !meta.is_file() {
        return Err(ReadError::NotRegular);
    }
    if rustix::process::geteuid().is_root() {
        trusted(&meta)?;
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(ReadError::Read)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| ReadError::NotText)
}

fn trusted(meta: &std::fs::Metadata) -> Result<(), ReadError> {
    if meta.uid() != 0 {
        return Err(ReadError::Owner { uid: meta.uid() });
    }
    let by_foreign_group = meta.mode() & GROUP_WRITE != 0 && meta.gid() != 0;
    if meta.mode() & WORLD_WRITE != 0 || by_foreign_group {
        return Err(ReadError::Writable { mode: meta.mode() & 0o7777 });
    }
    Ok(())
}
