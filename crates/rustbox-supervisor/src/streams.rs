//! The payload's standard streams, and the capture of its output.
//!
//! A captured stream is a pipe that the supervisor reads and passes on, counting. It never waits on
//! whoever reads the result: what cannot be passed on stays in one buffer, the pipe fills up, and the
//! payload waits, until a limit ends it.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustbox_core::{OutputIntegrity, RunPlan};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::time::Timespec;

use crate::error::Error;

/// How much of a stream is held when its reader is slower than the payload.
const BUFFER_BYTES: usize = 64 << 10;
/// Most that is written at once to a descriptor that others share and that may block: after
/// `POLLOUT` a pipe takes this much without waiting (`PIPE_BUF`).
const SAFE_WRITE_BYTES: usize = 4096;
/// How long the rest of the output may take to pass on once the box is dead.
const DRAIN: Duration = Duration::from_secs(2);

/// Where captured output goes.
#[derive(Debug)]
enum Sink {
    /// A description of our own, which never blocks.
    File(File),
    /// A socket, written with a flag that keeps it from blocking.
    Socket(OwnStream),
    /// Anything else that we were started with: a regular file.
    Shared(OwnStream),
}

/// A standard stream of this process.
#[derive(Clone, Copy, Debug)]
enum OwnStream {
    Stdout,
    Stderr,
}

impl OwnStream {
    fn fd(self) -> BorrowedFd<'static> {
        match self {
            Self::Stdout => rustix::stdio::stdout(),
            Self::Stderr => rustix::stdio::stderr(),
        }
    }

    /// A way to write there that does not block, whatever others have made of the shared description. A
    /// terminal says that it is writable when it takes one byte, and blocks on the second; a pipe that others
    /// write to may be full again after the poll. So both are opened anew.
    fn sink(self) -> Sink {
        let kind = rustix::fs::fstat(self.fd()).map(|found| FileType::from_raw_mode(found.st_mode));
        if matches!(kind, Ok(FileType::Fifo | FileType::CharacterDevice)) {
            let path = format!("/proc/self/fd/{}", self.fd().as_raw_fd());
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            if let Ok(fd) = openat(CWD, path, flags, Mode::empty()) {
                return Sink::File(File::from(fd));
            }
        }
        if kind == Ok(FileType::Socket) { Sink::Socket(self) } else { Sink::Shared(self) }
    }
}

/// Files that a run is given open, instead of by their paths. None for what the plan says.
#[derive(Debug, Default)]
pub struct Files {
    /// What the program reads.
    pub stdin: Option<OwnedFd>,
    /// Where its standard output is passed on to.
    pub stdout: Option<OwnedFd>,
    /// Where its standard error is passed on to.
    pub stderr: Option<OwnedFd>,
}

/// One captured stream.
#[derive(Debug)]
struct Capture {
    pipe: Option<OwnedFd>,
    sink: Sink,
    buffer: Vec<u8>,
    start: usize,
    bytes: u64,
    failed: bool,
}

/// The streams of one box.
#[derive(Debug)]
pub(crate) struct Streams {
    given: [Option<OwnedFd>; 3],
    captures: [Option<Capture>; 2],
    limit: Option<u64>,
    over_limit: bool,
    cut_short: bool,
}

impl Streams {
    /// Those of a box that has no program.
    pub(crate) fn none() -> Self {
        Self {
            given: [const { None }; 3],
            captures: [const { None }; 2],
            limit: None,
            over_limit: false,
            cut_short: false,
        }
    }

    /// Opens what the plan names, where it was not given open.
    pub(crate) fn open_with(plan: &RunPlan, files: Files) -> Result<Self, Error> {
        let named = || plan.stdin.as_deref().map(open_stdin).transpose();
        let stdin = files.stdin.map_or_else(named, |fd| Ok(Some(fd)))?;
        let mut streams = Self { given: [stdin, None, None], limit: plan.limits.output, ..Self::none() };
        let wanted = [
            ("--stdout", plan.stdout.as_deref(), files.stdout, OwnStream::Stdout),
            ("--stderr", plan.stderr.as_deref(), files.stderr, OwnStream::Stderr),
        ];
        for (index, (flag, path, given, own)) in wanted.into_iter().enumerate() {
            if path.is_none() && given.is_none() && plan.limits.output.is_none() {
                continue;
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let file =
                given.map_or_else(|| path.map(|path| open_file(flag, path, flags)).transpose(), |fd| Ok(Some(fd)))?;
            let sink = file.map_or_else(|| own.sink(), |fd| Sink::File(File::from(fd)));
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(Error::call("pipe for captured output"))?;
            rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK).map_err(Error::call("fcntl(O_NONBLOCK)"))?;
            let capture = Capture { pipe: Some(read), sink, buffer: Vec::new(), start: 0, bytes: 0, failed: false };
            if let (Some(given), Some(slot)) = (streams.given.get_mut(index + 1), streams.captures.get_mut(index)) {
                *given = Some(write);
                *slot = Some(capture);
            }
        }
        Ok(streams)
    }

    /// What the payload gets as 0, 1 and 2; none for the supervisor's own.
    pub(crate) fn given(&self) -> [Option<BorrowedFd<'_>>; 3] {
        [0, 1, 2].map(|index| self.given.get(index).and_then(Option::as_ref).map(AsFd::as_fd))
    }

    /// Closes the payload's ends in this process, so that the end of the payload is the end of the file.
    pub(crate) fn close_given(&mut self) {
        self.given = [None, None, None];
    }

    /// What to poll.
    pub(crate) fn watched(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.captures.iter().flatten().filter_map(Capture::watched)
    }

    /// Moves whatever can be moved now. True when the output has gone beyond its limit.
    pub(crate) fn pump(&mut self) -> bool {
        for index in 0..self.captures.len() {
            let total: u64 = self.captures.iter().flatten().map(|c| c.bytes).sum();
            let room = self.limit.map(|limit| limit.saturating_sub(total));
            if let Some(capture) = self.captures.get_mut(index).and_then(Option::as_mut) {
                self.over_limit |= capture.fill(room);
                capture.flush();
            }
        }
        self.over_limit
    }

    /// Passes on what is still in the pipes after the box is dead.
    pub(crate) fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN;
        loop {
            self.pump();
            let mut fds: Vec<PollFd<'_>> = self.watched().collect();
            if fds.is_empty() {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            if left.is_zero() || matches!(poll(&mut fds, timeout.as_ref()), Ok(0)) {
                self.cut_short = true;
                return;
            }
        }
    }

    /// Bytes passed on from standard output and standard error; none where not captured.
    pub(crate) fn bytes(&self) -> [Option<u64>; 2] {
        [0, 1].map(|index| self.captures.get(index).and_then(Option::as_ref).map(|c| c.bytes))
    }

    pub(crate) fn over_limit(&self) -> bool {
        self.over_limit
    }

    pub(crate) fn integrity(&self) -> OutputIntegrity {
        let mut captures = self.captures.iter().flatten().peekable();
        if captures.peek().is_none() {
            OutputIntegrity::NotCaptured
        } else if captures.any(|capture| capture.failed) {
            OutputIntegrity::WriteError
        } else if self.over_limit {
            OutputIntegrity::TruncatedByLimit
        } else if self.cut_short {
            OutputIntegrity::TruncatedByKill
        } else {
            OutputIntegrity::Complete
        }
    }
}

/// Opens what the program reads. At a FIFO that would be to wait for somebody, whatever the limits and signals.
fn open_stdin(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |source| Error::Stream { flag: "--stdin", path: path.to_owned(), source };
    let fd = open_file("--stdin", path, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let found = rustix::fs::fstat(&fd).map_err(|errno| failed(errno.into()))?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Fifo {
        let advice = "a FIFO is not waited for; open it for rustbox: < FIFO";
        return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, advice)));
    }
    rustix::fs::fcntl_setfl(&fd, OFlags::empty()).map_err(|errno| failed(errno.into()))?;
    Ok(fd)
}

fn open_file(flag: &'static str, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
    let mode = Mode::from_raw_mode(0o644);
    let opened = openat(CWD, path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, mode).and_then(|fd| {
        // A directory would lead past the box's root.
        let is_directory = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Directory;
        if is_directory { Err(Errno::ISDIR) } else { Ok(fd) }
    });
    opened.map_err(|errno| Error::Stream { flag, path: path.to_owned(), source: errno.into() })
}

impl Capture {
    fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn watched(&self) -> Option<PollFd<'_>> {
        if self.pending().is_empty() {
            return self.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN));
        }
        Some(PollFd::from_borrowed_fd(self.sink_fd(), PollFlags::OUT))
    }

    fn sink_fd(&self) -> BorrowedFd<'_> {
        match &self.sink {
            Sink::File(file) => file.as_fd(),
            Sink::Socket(stream) | Sink::Shared(stream) => stream.fd(),
        }
    }

    /// Reads into an empty buffer. True when there was more than `room`.
    fn fill(&mut self, room: Option<u64>) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        if self.start < self.buffer.len() {
            return false;
        }
        self.start = 0;
        self.buffer.clear();
        self.buffer.reserve(BUFFER_BYTES);
        let length = match rustix::io::read(pipe, spare_capacity(&mut self.buffer)) {
            Ok(0) => {
                self.pipe = None;
                0
            }
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => {
                (self.pipe, self.failed) = (None, true);
                0
            }
        };
        let kept = room.map_or(length, |room| length.min(usize::try_from(room).unwrap_or(usize::MAX)));
        self.buffer.truncate(if self.failed { 0 } else { kept });
        self.bytes += u64::try_from(self.buffer.len()).unwrap_or(0);
        kept < length
    }

    /// Writes once, if that does not wait. What nobody takes any more is thrown away, and the report says so.
    fn flush(&mut self) {
        if self.pending().is_empty() || !is_writable(self.sink_fd()) {
            return;
        }
        let end = self.buffer.len().min(self.start + SAFE_WRITE_BYTES);
        let chunk = self.buffer.get(self.start..end).unwrap_or_default();
        let written = match &mut self.sink {
            Sink::File(file) => file.write(self.buffer.get(self.start..).unwrap_or_default()),
            Sink::Socket(stream) => {
                rustix::net::send(stream.fd(), chunk, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map_err(Into::into)
            }
            Sink::Shared(stream) => rustix::io::write(stream.fd(), chunk).map_err(Into::into),
        };
        match written {
            Ok(length) => self.start += length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => {
                self.failed = true;
                self.bytes -= u64::try_from(self.buffer.len() - self.start).unwrap_or(0);
                self.start = self.buffer.len();
            }
        }
    }
}

fn is_writable(fd: BorrowedFd<'_>) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], Some(&now)), Ok(ready) if ready > 0)
}
