//! The results: written one whole line at a time, in order or as they come, and read again by `--resume`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustbox_core::{ContainmentVerdict, RunReport};
use serde::{Deserialize, Serialize};

/// What became of one job.
#[derive(Debug, Serialize)]
pub(super) struct JobResult {
    pub(super) schema: &'static str,
    /// The number of its line, from 1.
    pub(super) job: u64,
    pub(super) id: Option<String>,
    /// Which line it was, so that `--resume` notices when the file has changed.
    pub(super) digest: String,
    /// Whether the output was what was expected; null when nothing was expected.
    pub(super) matches: Option<bool>,
    /// Why there was no run, or why its output was not compared; else null.
    pub(super) error: Option<String>,
    pub(super) report: Option<Box<RunReport>>,
}

pub(super) const SCHEMA: &str = "rustbox.batch/v1";

/// FNV-1a, of which nobody needs to fear a collision made on purpose: it guards against a mistake.
pub(super) fn digest(line: &[u8]) -> String {
    let hash = line
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// Why results cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResultsError {
    /// It is there, and nobody said that it is to be continued.
    #[error("{} exists: continue it with --resume, or remove it", .0.display())]
    Exists(PathBuf),
    /// It is a device, a FIFO or a directory.
    #[error("{} is no file to which results can be added; without --out they go to standard output", .0.display())]
    NoFile(PathBuf),
    /// Another batch has it.
    #[error("{}: another batch writes its results there", .0.display())]
    Busy(PathBuf),
    /// It cannot be opened, read or written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line in the middle is not of ours.
    #[error("{}: line {line} is no result of a batch; nothing was changed", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
}

/// What `--resume` reads of a result.
#[derive(Deserialize)]
struct Line {
    schema: String,
    job: u64,
    digest: String,
    report: Option<LineReport>,
}

#[derive(Deserialize)]
struct LineReport {
    containment: LineContainment,
}

#[derive(Deserialize)]
struct LineContainment {
    verdict: ContainmentVerdict,
}

/// The jobs that have a result.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Their digests.
    pub(super) jobs: BTreeMap<u64, String>,
    /// What their results come to.
    pub(super) tally: Tally,
}

/// What results say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// A job has no report.
    pub(super) failed: bool,
    /// Something was left of a box.
    pub(super) violated: bool,
}

impl Tally {
    pub(super) fn add(&mut self, verdict: Option<ContainmentVerdict>) {
        self.failed |= verdict.is_none();
        self.violated |= verdict == Some(ContainmentVerdict::Violated);
    }
}

/// Opens a file for results, and keeps others from it. With `resume` the jobs that have one are returned, and a torn last
/// line is removed; everything else in the file stays, and a file that is none of ours is not touched.
pub(super) fn open(path: &Path, resume: bool) -> Result<(File, Done), ResultsError> {
    let failed = |source| ResultsError::File { path: path.to_owned(), source };
    // Of a FIFO or a device nobody waits to be told what it is.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(ResultsError::NoFile(path.to_owned()));
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).create_new(!resume);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(ResultsError::Exists(path.to_owned()));
        }
        opened => opened.map_err(failed)?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(ResultsError::Busy(path.to_owned())),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let (done, whole) = read(path, &file)?;
    file.set_len(whole).and_then(|()| file.seek(SeekFrom::Start(whole))).map_err(failed)?;
    Ok((file, done))
}

/// The results in a file, and how long they are without a torn last line.
fn read(path: &Path, file: &File) -> Result<(Done, u64), ResultsError> {
    let failed = |source| ResultsError::File { path: path.to_owned(), source };
    let (mut done, mut whole) = (Done::default(), 0);
    let mut reader = BufReader::new(file);
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let length = reader.read_until(b'\n', &mut text).map_err(failed)?;
        if length == 0 {
            break;
        }
        let foreign = || ResultsError::Foreign { path: path.to_owned(), line: number };
        if text.last() != Some(&b'\n') {
            // One that was not written whole, if it is one.
            let beginning = format!("{{\"schema\":\"{SCHEMA}\"").into_bytes();
            if !text.iter().zip(&beginning).all(|(found, wanted)| found == wanted) {
                return Err(foreign());
            }
            break;
        }
        let line: Line =
            serde_json::from_slice(&text).ok().filter(|line: &Line| line.schema == SCHEMA).ok_or_else(foreign)?;
        done.tally.add(line.report.map(|report| report.containment.verdict));
        done.jobs.insert(line.job, line.digest);
        whole += u64::try_from(length).unwrap_or(0);
    }
    Ok((done, whole))
}

/// Where results go.
pub(super) struct Writer {
    out: Box<dyn Write>,
    /// Results that wait for those before them; none where the order does not matter.
    early: Option<BTreeMap<u64, Option<JobResult>>>,
    next: u64,
}

impl Writer {
    pub(super) fn new(out: Box<dyn Write>, ordered: bool) -> Self {
        Self { out, early: ordered.then(BTreeMap::new), next: 0 }
    }

    /// Takes the result with this place in the order; none for a job that has no result. Returns how many were written
    /// or passed over, which is how much room there is again.
    pub(super) fn take(&mut self, place: u64, result: Option<JobResult>) -> io::Result<usize> {
        let Some(early) = &mut self.early else {
            write(&mut self.out, result.as_ref())?;
            return Ok(1);
        };
        early.insert(place, result);
        let mut room = 0;
        while let Some(result) = early.remove(&self.next) {
            self.next += 1;
            room += 1;
            write(&mut self.out, result.as_ref())?;
        }
        Ok(room)
    }

    /// Writes what still waits for others that will not come.
    pub(super) fn finish(mut self) -> io::Result<()> {
        for result in std::mem::take(&mut self.early).unwrap_or_default().into_values() {
            write(&mut self.out, result.as_ref())?;
        }
        self.out.flush()
    }
}

fn write(out: &mut dyn Write, result: Option<&JobResult>) -> io::Result<()> {
    let Some(result) = result else { return Ok(()) };
    // One write: a batch that is killed leaves whole lines, or one torn line that --resume removes.
    let mut line = serde_json::to_vec(result)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(job: u64) -> JobResult {
        let error = Some("x".to_owned());
        JobResult { schema: SCHEMA, job, id: None, digest: digest(b"l"), matches: None, error, report: None }
    }

    #[test]
    fn a_torn_last_line_is_removed_and_the_rest_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut whole = Vec::new();
        for job in [1, 3] {
            whole.extend(serde_json::to_vec(&result(job)).unwrap());
            whole.push(b'\n');
        }
        let torn = serde_json::to_vec(&result(4)).unwrap();
        for length in 0..=torn.len() {
            std::fs::write(&path, [&whole[..], &torn[..length]].concat()).unwrap();
            let (_, done) = open(&path, true).unwrap();
            assert_eq!(done.jobs.keys().copied().collect::<Vec<_>>(), [1, 3]);
            assert_eq!(done.tally, Tally { failed: true, violated: false });
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        assert!(matches!(open(&path, false), Err(ResultsError::Exists(_))));
        std::fs::write(&path, b"{}\n").unwrap();
        assert!(matches!(open(&path, true), Err(ResultsError::Foreign { line: 1, .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"{}\n");
        // Nor is a file of somebody else's that has no line's end.
        for theirs in [&b"secret"[..], b"{\"schema\":\"theirs", &[&whole[..], b"x"].concat()] {
            std::fs::write(&path, theirs).unwrap();
            assert!(matches!(open(&path, true), Err(ResultsError::Foreign { .. })));
            assert_eq!(std::fs::read(&path).unwrap(), theirs);
        }
    }

    #[test]
    fn a_file_is_one_batchs_and_a_device_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let (_file, _) = open(&path, false).unwrap();
        assert!(matches!(open(&path, true), Err(ResultsError::Busy(_))));
        for (path, resume) in [("/dev/null", false), ("/dev/full", true), ("/", true)] {
            assert!(matches!(open(Path::new(path), resume), Err(ResultsError::NoFile(_))), "{path}");
        }
    }

    #[test]
    fn results_come_out_in_order_or_as_they_come() {
        let dir = tempfile::tempdir().unwrap();
        for (ordered, expected) in [(true, [1, 2, 3]), (false, [3, 1, 2])] {
            let path = dir.path().join(ordered.to_string());
            let mut writer = Writer::new(Box::new(File::create(&path).unwrap()), ordered);
            let room: Vec<usize> = [2, 0, 1].map(|place| writer.take(place, Some(result(place + 1))).unwrap()).into();
            assert_eq!(room, if ordered { [0, 1, 2] } else { [1, 1, 1] });
            writer.finish().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let jobs: Vec<u64> = text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().job).collect();
            assert_eq!(jobs, expected);
        }
    }
}
