//! Small files of the kernel's, read with one `open`, one `read` and one `close`.

use std::fs::File;
use std::io::{Error, ErrorKind};

use rustix::buffer::spare_capacity;

/// Longest file that is read this way, in bytes.
const LIMIT: usize = 4096;

/// Reads a small text whole. The kernel makes such a text in one piece for one `read`.
///
/// # Errors
/// It could not be opened or read, is longer than 4 KiB, or is not text.
pub(crate) fn text(path: &str) -> Result<String, Error> {
    let bytes = bytes(path)?;
    String::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData.into())
}

/// Reads a small file whole.
///
/// # Errors
/// It could not be opened or read, or is longer than 4 KiB.
pub(crate) fn bytes(path: &str) -> Result<Vec<u8>, Error> {
    let mut buffer = Vec::with_capacity(LIMIT);
    let file = File::open(path)?;
    rustix::io::retry_on_intr(|| rustix::io::read(&file, spare_capacity(&mut buffer)))?;
    if buffer.len() >= LIMIT {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(buffer)
}
