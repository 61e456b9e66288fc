//! The threads of a batch, and what it comes to.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustbox_core::{Cause, ContainmentVerdict, ExitCode, RunReport};
use rustbox_supervisor::PoolCounts;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::depth::{Depth, Queued};
use super::inputs;
use super::job::{Job, Wrong};
use super::jobs::{Jobs, Line};
use super::progress::{self, Now, Progress};
use super::results::{self, Done, JobResult, ResultsError, SCHEMA, Tally, Writer, digest};
use super::start::Start;
use super::stop::Stop;
use crate::args::BatchArgs;
use crate::config::Settings;
use crate::error::CliError;
use crate::health;
use crate::output::{fail, say};
use crate::signals::Signals;

/// Results that may wait for one before them, for each worker.
const ROOM: usize = 8;
/// Some jobs have no report.
const SOME_FAILED: u8 = 1;

/// A line with its place among those that are run.
struct Task<'a> {
    place: u64,
    line: Line,
    queued: Queued<'a>,
}

/// A result with its place; none for a job that was not run to its end.
type Finished = (u64, Option<JobResult>);

/// `rustbox batch`.
pub(crate) fn batch(settings: &Settings, args: &BatchArgs) -> Result<u8, CliError> {
    if !rustix::process::geteuid().is_root() {
        return Err(CliError::Unprivileged);
    }
    rustbox_ns::ignore_file_size_signal().map_err(|error| CliError::Supervisor(error.into()))?;
    raise_descriptors();
    // Before any thread is there, so that all of them have the mask.
    let signals = Signals::block()?;
    health::before_run(settings).inspect_err(|error| health::count_refusal(settings, error))?;
    let workers = args.workers.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    // Twice as many boxes as workers: while one is ended and the next prepared, another is there.
    let slots = workers * 2;
    let (stop, heard) = Stop::new(slots).map_err(CliError::Signals)?;
    let mut jobs = Jobs::open(&args.jobs, heard.halted)?;
    let pool = Start::new(settings, slots, heard.runs).inspect_err(|error| health::count_refusal(settings, error))?;
    let (out, done): (Box<dyn io::Write>, _) = match &args.out {
        Some(path) => {
            let (file, done) = results::open(path, args.resume).map_err(CliError::Results)?;
            (Box::new(file), done)
        }
        None => (Box::new(io::stdout()), Done::default()),
    };
    let total = jobs.check(&done.jobs)?;
    let crew = Crew { settings, workers, stop, pool, depth: Depth::open(settings), out: args.out.clone(), total };
    crew.run(jobs, done, Writer::new(out, !args.unordered), &signals)
}

/// As many descriptors as this process may have: a box that waits takes some twenty.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(errno) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%errno, "the limit of open files is not raised");
    }
}

/// What all threads of a batch share.
struct Crew<'a> {
    settings: &'a Settings,
    workers: usize,
    stop: Stop,
    pool: Start,
    depth: Depth,
    /// Where the results go, if not to standard output.
    out: Option<PathBuf>,
    /// Jobs in the file, where that is known.
    total: Option<u64>,
}

impl Crew<'_> {
    fn run(self, mut jobs: Jobs, done: Done, mut writer: Writer, signals: &Signals) -> Result<u8, CliError> {
        let (give, tasks) = bounded(self.workers);
        let (finish, finished) = bounded(self.workers);
        let room = self.workers * ROOM;
        let (give_room, take_room) = bounded(room);
        for _ in 0..room {
            // It has room for exactly these.
            let _ = give_room.send(());
        }
        let (over, still_on) = io::pipe().map_err(CliError::Signals)?;
        let crew = &self;
        let mut tally = done.tally;
        let (written, fed) = std::thread::scope(|scope| {
            scope.spawn(|| crew.stop.watch(signals, &over));
            let known = &done.jobs;
            let feeder = scope.spawn(move || crew.feed(&mut jobs, known, &give, &take_room));
            for _ in 0..self.workers {
                let (tasks, finish) = (tasks.clone(), finish.clone());
                scope.spawn(move || crew.work(&tasks, &finish));
            }
            drop((tasks, finish));
            let written = crew.write(&mut writer, &finished, &give_room, done.jobs.len(), &mut tally);
            if written.is_err() {
                crew.stop.unwritten();
            }
            // A writer that gave up leaves nobody waiting.
            drop((finished, give_room));
            let fed = feeder.join();
            drop(still_on);
            (written, fed)
        });
        let written = written.and_then(|()| writer.finish().map_err(|source| self.unwritten(source)));
        let fed = fed.map_err(|_| CliError::Stdout(io::ErrorKind::Other.into())).and_then(|fed| fed);
        let code = self.end(tally);
        match written.and(fed) {
            // Of the two this is what must be known.
            Err(error) if code == ExitCode::CONTAINMENT_VIOLATION => {
                fail(&error);
                Ok(code)
            }
            ended => ended.map(|()| code),
        }
    }

    fn unwritten(&self, source: io::Error) -> CliError {
        match &self.out {
            Some(path) => CliError::Results(ResultsError::File { path: path.clone(), source }),
            None => CliError::Stdout(source),
        }
    }

    /// Reads lines as long as there is room for their results.
    fn feed<'a>(
        &'a self,
        jobs: &mut Jobs,
        done: &BTreeMap<u64, String>,
        give: &Sender<Task<'a>>,
        room: &Receiver<()>,
    ) -> Result<(), CliError> {
        let mut place = 0;
        while let Some(line) = jobs.next()? {
            // What was read when it was said is perhaps no whole line.
            if self.stop.is_set() {
                break;
            }
            if line.is_done(done)? || line.text.is_empty() {
                continue;
            }
            if room.recv().is_err() {
                break;
            }
            let queued = self.depth.enter();
            if give.send(Task { place, line, queued }).is_err() {
                break;
            }
            place += 1;
        }
        Ok(())
    }

    fn work(&self, tasks: &Receiver<Task<'_>>, finish: &Sender<Finished>) {
        for task in tasks {
            let place = task.place;
            let result = if self.stop.is_set() { None } else { self.one(task) };
            if finish.send((place, result)).is_err() {
                break;
            }
        }
    }

    /// Runs one job; no result when it was interrupted, or not begun.
    fn one(&self, task: Task<'_>) -> Option<JobResult> {
        let Task { line, queued, .. } = task;
        let mut result = JobResult {
            schema: SCHEMA,
            job: line.number,
            id: None,
            digest: digest(&line.text),
            matches: None,
            error: None,
            report: None,
        };
        match Job::parse(&line, self.settings) {
            Err(Wrong { id, reason }) => (result.id, result.error) = (id, Some(reason)),
            Ok(job) => {
                result.id.clone_from(&job.id);
                match self.run_job(&job, queued, &mut result) {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => result.error = Some(error),
                }
            }
        }
        Some(result)
    }

    /// Runs a job, and writes down what became of it; false when nothing is to be written of it.
    fn run_job(&self, job: &Job, queued: Queued<'_>, result: &mut JobResult) -> Result<bool, String> {
        let refused = |error: &CliError| health::count_refusal(self.settings, error);
        let worker = match health::before_run(self.settings).inspect_err(refused) {
            Ok(worker) => worker,
            // No other job will be run either: that is the batch's affair and not this job's.
            Err(error @ CliError::Quarantined(_)) => {
                self.stop.refuse(error);
                return Ok(false);
            }
            Err(error) => return Err(error.line()),
        };
        let (files, comparison) = inputs::open(job).map_err(|error| format!("the job's files: {error}"))?;
        let ran = self.pool.run(job, files, || drop(queued)).inspect_err(refused);
        let report = ran.map_err(|error| error.line())?;
        if report.cause == Cause::Interrupted {
            return Ok(false);
        }
        health::after_run(self.settings, worker.as_deref(), &report);
        result.report = Some(Box::new(report));
        let matches = comparison.map(inputs::Comparison::matches).transpose();
        result.matches = matches.map_err(|error| format!("compare the output: {error}"))?;
        Ok(true)
    }

    fn write(
        &self,
        writer: &mut Writer,
        finished: &Receiver<Finished>,
        room: &Sender<()>,
        before: usize,
        tally: &mut Tally,
    ) -> Result<(), CliError> {
        let mut progress = Progress::start(self.out.is_some());
        let before = u64::try_from(before).unwrap_or(0);
        let mut now = Now { before, total: self.total, ..Now::default() };
        loop {
            now.queued = self.depth.now();
            now.waiting = self.pool.started().map_or(0, |pool| pool.counts().waiting);
            progress.show(&now);
            let (place, result) = match finished.recv_timeout(progress::EVERY) {
                Ok(finished) => finished,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Some(result) = &result {
                now.done += 1;
                now.failed += u64::from(result.report.is_none());
                tally.add(result.report.as_ref().map(|report| report.containment.verdict));
            }
            let freed = writer.take(place, result).map_err(|source| self.unwritten(source))?;
            for _ in 0..freed {
                // The feeder may have gone already; then nobody needs room.
                let _ = room.try_send(());
            }
        }
        say([progress.finish(&now)]);
        Ok(())
    }

    /// Ends the pool, and says what the batch came to.
    fn end(self, mut tally: Tally) -> u8 {
        let mut unproved = false;
        let (counts, reports) = self.pool.end();
        if let Some(PoolCounts { warm, cold, discarded, .. }) = counts {
            tracing::info!(warm, cold, discarded, "batch ended");
        }
        for report in reports.iter().filter(|report| report.containment.verdict != ContainmentVerdict::Contained) {
            tally.violated |= report.containment.verdict == ContainmentVerdict::Violated;
            unproved = true;
            health::after_run(self.settings, None, report);
            say([unproved_line(report)]);
        }
        if let Some(error) = self.stop.refused() {
            let resume = if self.out.is_some() { "; --resume runs them later" } else { "" };
            say(error.lines().into_iter().map(|line| format!("rustbox: {line}")));
            say([format!("rustbox: batch: the jobs that have no result were not begun{resume}")]);
        }
        match (self.stop.signal(), self.stop.refused()) {
            _ if tally.violated => ExitCode::CONTAINMENT_VIOLATION,
            (Some(signal), _) => u8::try_from(128 + signal).unwrap_or(ExitCode::INTERNAL),
            (None, Some(error)) => error.exit_code(),
            (None, None) if unproved => ExitCode::INTERNAL,
            (None, None) if tally.failed => SOME_FAILED,
            (None, None) => 0,
        }
    }
}

/// What is said of a box that waited and of whose end there is no proof.
fn unproved_line(report: &RunReport) -> String {
    let verdict = format!("{:?}", report.containment.verdict).to_lowercase();
    format!(
        "rustbox: batch: a box that no job got, {}: {verdict}: {}; see `rustbox ps`, `rustbox cleanup {}`",
        report.box_id, report.message, report.box_id
    )
}
