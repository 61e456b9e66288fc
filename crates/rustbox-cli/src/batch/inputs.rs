//! The files of one run, and what became of its output.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use rustbox_supervisor::Files;
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};

use super::job::{Job, Source};

/// Largest `expected` file, in bytes: beyond it a path is a mistake.
const EXPECTED_MAX: u64 = 256 << 20;

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

/// Opens what a job reads and where its output goes. The second one is kept for the comparison.
pub(super) fn open(job: &Job) -> io::Result<(Files, Option<File>)> {
    let stdin = match &job.stdin {
        None => File::open("/dev/null")?.into(),
        Some(Source::Text(text)) => readable(text)?,
        Some(Source::Path(path)) => {
            let file = File::open(path).map_err(|error| about(path, &error))?;
            if file.metadata()?.is_dir() {
                return Err(about(path, &io::ErrorKind::IsADirectory.into()));
            }
            file.into()
        }
    };
    let nowhere = || File::options().write(true).open("/dev/null").map(OwnedFd::from);
    let mut files = Files { stdin: Some(stdin), stdout: None, stderr: None };
    let mut output = None;
    if job.expected.is_some() {
        let file = unnamed("rustbox-stdout")?;
        files.stdout = Some(file.try_clone()?.into());
        output = Some(file);
    } else if job.plan.stdout.is_none() {
        files.stdout = Some(nowhere()?);
    }
    if job.plan.stderr.is_none() {
        files.stderr = Some(nowhere()?);
    }
    Ok((files, output))
}

fn about(path: &std::path::Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Whether the output is what was expected; none when nothing was.
pub(super) fn compare(job: &Job, output: Option<File>) -> io::Result<Option<bool>> {
    let (Some(expected), Some(mut output)) = (&job.expected, output) else { return Ok(None) };
    let mut found = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut found)?;
    let wanted = match expected {
        Source::Text(text) => text.clone().into_bytes(),
        Source::Path(path) => {
            let mut bytes = Vec::new();
            let file = File::open(path).map_err(|error| about(path, &error))?;
            file.take(EXPECTED_MAX).read_to_end(&mut bytes)?;
            bytes
        }
    };
    Ok(Some(lines(&found).eq(lines(&wanted))))
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
