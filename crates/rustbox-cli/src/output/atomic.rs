//! Files that a reader sees either as they were or whole.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// Temporary names tried before giving up; each is taken only when somebody put a file there.
const TEMPORARY_NAMES: u32 = 16;

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("{} is not the name of a file", .0.display())]
    NoName(PathBuf),
    #[error("open directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("look at {}", path.display())]
    Look { path: PathBuf, source: io::Error },
    #[error("{} is there and is not a regular file: symbolic links and devices are not written through", .0.display())]
    NotRegular(PathBuf),
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("descriptor {fd} is not open for writing")]
    NotOpen { fd: i32, source: Option<io::Error> },
}

/// A file that is replaced in one step.
///
/// The directory is opened once, so that whoever renames it meanwhile cannot lead a later write elsewhere.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
}

impl AtomicFile {
    /// Opens the file's directory, and creates nothing.
    ///
    /// # Errors
    /// The directory is not there, or the name belongs to something else than a regular file.
    pub(crate) fn open(path: &Path) -> Result<Self, OutputError> {
        let name = path.file_name().ok_or_else(|| OutputError::NoName(path.to_owned()))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())
            .map_err(|e| OutputError::Directory { path: parent.to_owned(), source: e.into() })?;
        let file = Self { directory, name: name.to_owned(), path: path.to_owned() };
        file.refuse_special()?;
        Ok(file)
    }

    fn refuse_special(&self) -> Result<(), OutputError> {
        match rustix::fs::statat(&self.directory, self.name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(()),
            Ok(_) => Err(OutputError::NotRegular(self.path.clone())),
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => Err(OutputError::Look { path: self.path.clone(), source: e.into() }),
        }
    }

    /// Replaces the file's content.
    ///
    /// # Errors
    /// The content as a whole is there, or the file is as it was.
    pub(crate) fn write(&self, content: &[u8]) -> Result<(), OutputError> {
        self.refuse_special()?;
        let failed = |source: io::Error| OutputError::Write { path: self.path.clone(), source };
        let (temporary, mut file) = self.temporary().map_err(failed)?;
        let written = file.write_all(content).and_then(|()| {
            rustix::fs::renameat(&self.directory, &temporary, &self.directory, self.name.as_os_str())
                .map_err(Into::into)
        });
        if written.is_err() {
            // The first error is the one to tell; what is left over is one temporary file.
            let _ = rustix::fs::unlinkat(&self.directory, &temporary, AtFlags::empty());
        }
        written.map_err(failed)
    }

    fn temporary(&self) -> io::Result<(OsString, File)> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut taken = io::Error::from(io::ErrorKind::AlreadyExists);
        for attempt in 0..TEMPORARY_NAMES {
            let name = temporary_name(&self.name, attempt);
            match rustix::fs::openat(&self.directory, &name, flags, Mode::from_raw_mode(0o666)) {
                Ok(fd) => return Ok((name, fd.into())),
                Err(rustix::io::Errno::EXIST) => taken = rustix::io::Errno::EXIST.into(),
                Err(e) => return Err(e.into()),
            }
        }
        Err(taken)
    }
}

/// The file's own name is cut, so that a long one does not make the temporary one too long.
fn temporary_name(name: &OsStr, attempt: u32) -> OsString {
    const KEPT: usize = 32;
    let short: String = name.to_string_lossy().chars().filter(char::is_ascii_graphic).take(KEPT).collect();
    format!(".{short}.{}-{attempt}.tmp", std::process::id()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta");
        let file = AtomicFile::open(&path).unwrap();
        assert!(!path.exists(), "opening creates nothing");
        file.write(b"status:XX\n").unwrap();
        file.write(b"exitcode:0\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"exitcode:0\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_symbolic_link_is_neither_followed_nor_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::fs::write(&target, "mine").unwrap();
        let link = dir.path().join("link");
        let late = AtomicFile::open(&link).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(AtomicFile::open(&link), Err(OutputError::NotRegular(_))));
        assert!(matches!(late.write(b"x"), Err(OutputError::NotRegular(_))), "also when it came later");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "mine");
        assert!(matches!(AtomicFile::open(Path::new("/dev/null")), Err(OutputError::NotRegular(_))));
        assert!(matches!(AtomicFile::open(&dir.path().join("no/file")), Err(OutputError::Directory { .. })));
    }
}
