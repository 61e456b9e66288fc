//! The results: written one whole line at a time, in order or as they come, and read again by `--resume`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustbox_core::RunReport;
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
    /// Why there was no run; null when there was one.
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
struct Done {
    schema: String,
    job: u64,
    digest: String,
}

/// Opens a file for results. With `resume` the jobs that have one are returned with their digests, and a torn last line is
/// removed; everything else in the file stays.
pub(super) fn open(path: &Path, resume: bool) -> Result<(File, BTreeMap<u64, String>), ResultsError> {
    let failed = |source| ResultsError::File { path: path.to_owned(), source };
    if !resume {
        let created = OpenOptions::new().write(true).create_new(true).open(path);
        return match created {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(ResultsError::Exists(path.to_owned())),
            created => Ok((created.map_err(failed)?, BTreeMap::new())),
        };
    }
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    let mut done = BTreeMap::new();
    let mut whole = 0;
    let mut reader = BufReader::new(&file);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(failed)?;
        // A line that was not ended was not written whole.
        if length == 0 || line.last() != Some(&b'\n') {
            break;
        }
        match serde_json::from_slice::<Done>(&line) {
            Ok(one) if one.schema == SCHEMA => done.insert(one.job, one.digest),
            _ => return Err(ResultsError::Foreign { path: path.to_owned(), line: number }),
        };
        whole += u64::try_from(length).unwrap_or(0);
    }
    file.set_len(whole).and_then(|()| file.seek(SeekFrom::Start(whole))).map_err(failed)?;
    Ok((file, done))
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
            assert_eq!(done.keys().copied().collect::<Vec<_>>(), [1, 3]);
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        assert!(matches!(open(&path, false), Err(ResultsError::Exists(_))));
        std::fs::write(&path, b"{}\n").unwrap();
        assert!(matches!(open(&path, true), Err(ResultsError::Foreign { line: 1, .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"{}\n");
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
            let jobs: Vec<u64> = text.lines().map(|line| serde_json::from_str::<Done>(line).unwrap().job).collect();
            assert_eq!(jobs, expected);
        }
    }
}
