//! The files of one run, and what became of its output.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustbox_supervisor::Files;
use rustix::fs::{MemfdFlags, Mode, OFlags, fchmod, memfd_create};

use super::job::{Job, Source};

/// Most that is compared, in bytes: both texts are in memory then. More is a mistake.
const COMPARED_MAX: u64 = 256 << 20;

/// What the output of a job is compared with, and where that output is.
pub(super) struct Comparison {
    expected: Expected,
    output: File,
}

enum Expected {
    Text(Vec<u8>),
    File(File),
}

/// A file that has no name.
fn unnamed(name: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC)?))
}

/// A text as a file that can be read only.
fn readable(text: &str) -> io::Result<OwnedFd> {
    let mut file = unnamed("rustbox-stdin")?;
    file.write_all(text.as_bytes())?;
    // The program may open it once more, as `/dev/stdin`; it is not the owner, so it can do no more than read.
    fchmod(&file, Mode::from_raw_mode(0o444))?;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map(OwnedFd::from)
}

/// Opens what a job reads and where its output goes.
pub(super) fn open(job: &Job) -> io::Result<(Files, Option<Comparison>)> {
    let stdin = match &job.stdin {
        None => File::open("/dev/null")?.into(),
        Some(Source::Text(text)) => readable(text)?,
        Some(Source::Path(path)) => open_path(path).map_err(|error| about("stdin", path, &error))?.into(),
    };
    let nowhere = || File::options().write(true).open("/dev/null").map(OwnedFd::from);
    let mut files = Files { stdin: Some(stdin), stdout: None, stderr: None };
    let comparison = job.expected.as_ref().map(Comparison::open).transpose()?;
    if let Some(comparison) = &comparison {
        files.stdout = Some(comparison.output.try_clone()?.into());
    } else if job.plan.stdout.is_none() {
        files.stdout = Some(nowhere()?);
    }
    if job.plan.stderr.is_none() {
        files.stderr = Some(nowhere()?);
    }
    Ok((files, comparison))
}

/// Opens a file or a device. At a FIFO that would be to wait for somebody, with no limit.
fn open_path(path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH.bits().cast_signed();
    let found = File::options().read(true).custom_flags(flags).open(path)?;
    let kind = found.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() && !kind.is_char_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a file nor a character device"));
    }
    File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

fn about(key: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{key}: {}: {error}", path.display()))
}

impl Comparison {
    fn open(expected: &Source) -> io::Result<Self> {
        let expected = match expected {
            Source::Text(text) => Expected::Text(text.clone().into_bytes()),
            Source::Path(path) => {
                let failed = |error: io::Error| about("expected", path, &error);
                let file = open_path(path).map_err(failed)?;
                let length = file.metadata().map_err(failed)?.len();
                if length > COMPARED_MAX {
                    let said = format!("has {length} bytes; at most {COMPARED_MAX} are compared");
                    return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, said)));
                }
                Expected::File(file)
            }
        };
        Ok(Self { expected, output: unnamed("rustbox-stdout")? })
    }

    /// Whether the output is what was expected.
    pub(super) fn matches(self) -> io::Result<bool> {
        let Self { expected, mut output } = self;
        output.rewind()?;
        let found = read_all(&output)?;
        let wanted = match expected {
            Expected::Text(text) => text,
            Expected::File(file) => read_all(&file)?,
        };
        Ok(lines(&found).eq(lines(&wanted)))
    }
}

fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = file.take(COMPARED_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(length).is_ok_and(|length| length <= COMPARED_MAX) {
        return Ok(bytes);
    }
    let said = format!("more than {COMPARED_MAX} bytes are not compared");
    Err(io::Error::new(io::ErrorKind::FileTooLarge, said))
}

/// Lines without the spaces at their ends, and without empty ones at the end.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.trim_ascii_end().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_space_that_nobody_sees_is_left_aside() {
        let same = |a: &str, b: &str| lines(a.as_bytes()).eq(lines(b.as_bytes()));
        assert!(same("1 2 \n3\n\n", "1 2\r\n3"));
        assert!(same("", "\n"));
        assert!(!same("1  2", "1 2"));
        assert!(!same("1\n\n2", "1\n2"));
        assert!(!same(" 1", "1"));
    }
}
