//! The threads of a batch, and what it comes to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustbox_core::{Cause, ContainmentVerdict, ExitCode, RunReport};
use rustbox_supervisor::{Begun, Files, Pool};

use super::depth::{Depth, Queued};
use super::inputs;
use super::job::{Job, Wrong};
use super::progress::{Now, Progress};
use super::results::{self, JobResult, SCHEMA, Writer, digest};
use super::stop::{Interrupts, Stop};
use crate::args::BatchArgs;
use crate::commands::host;
use crate::config::Settings;
use crate::error::CliError;
use crate::health;
use crate::output::say;
use crate::signals::Signals;

/// Longest line, in bytes: a job that needs more names files.
const LINE_MAX: usize = 16 << 20;
/// Results that may wait for one before them, for each worker.
const ROOM: usize = 8;
/// Some jobs have no report.
const SOME_FAILED: u8 = 1;

/// A line with its number, and its place among those that are run.
struct Task<'a> {
    place: u64,
    number: u64,
    line: Vec<u8>,
    queued: Queued<'a>,
}

/// A result with its place; none for a job that was interrupted.
type Finished = (u64, Option<JobResult>);

/// `rustbox batch`.
pub(crate) fn batch(settings: &Settings, args: &BatchArgs) -> Result<u8, CliError> {
    if !rustix::process::geteuid().is_root() {
        return Err(CliError::Unprivileged);
    }
    rustbox_ns::ignore_file_size_signal().map_err(|error| CliError::Supervisor(error.into()))?;
    // Before any thread is there, so that all of them have the mask.
    let signals = Signals::block()?;
    health::before_run(settings).inspect_err(|error| health::count_refusal(settings, error))?;
    let jobs = Jobs::open(&args.jobs)?;
    let (out, done): (Box<dyn io::Write>, _) = match &args.out {
        Some(path) => {
            let (file, done) = results::open(path, args.resume).map_err(CliError::Results)?;
            (Box::new(file), done)
        }
        None => (Box::new(io::stdout()), BTreeMap::new()),
    };
    let interrupts = Interrupts::new().map_err(CliError::Signals)?;
    let runs = interrupts.runs.try_clone().map_err(CliError::Signals)?;
    let workers = args.workers.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let pool = Start::new(settings, workers, runs).inspect_err(|error| health::count_refusal(settings, error))?;
    let crew = Crew { settings, workers, stop: Stop::default(), pool, depth: Depth::open(settings) };
    let writer = Writer::new(out, !args.unordered);
    crew.run(jobs, done, writer, (signals, interrupts))
}

/// The file of jobs.
struct Jobs {
    lines: Box<dyn BufRead + Send>,
    total: Option<u64>,
}

impl Jobs {
    fn open(path: &Path) -> Result<Self, CliError> {
        if path.as_os_str() == "-" {
            return Ok(Self { lines: Box::new(BufReader::new(io::stdin())), total: None });
        }
        let failed = |source| CliError::Jobs { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let is_file = file.metadata().map_err(failed)?.is_file();
        let total = if is_file { Some(count(path).map_err(failed)?) } else { None };
        Ok(Self { lines: Box::new(BufReader::new(file)), total })
    }

    /// The next line without its end; none at the end of the file.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let limit = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
        if io::Read::take(&mut self.lines, limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') && line.len() == LINE_MAX {
            // Too long: what follows is skipped, and the beginning is no job.
            self.lines.skip_until(b'\n')?;
        }
        Ok(Some(line.trim_ascii().to_vec()))
    }
}

fn count(path: &Path) -> io::Result<u64> {
    let mut lines = 0;
    let mut reader = BufReader::new(File::open(path)?);
    while reader.skip_until(b'\n')? > 0 {
        lines += 1;
    }
    Ok(lines)
}

/// The pool, which is started by the first job that can be run: its boxes are like that one's.
struct Start {
    host: Arc<rustbox_supervisor::Host>,
    slots: usize,
    interrupt: OwnedFd,
    pool: std::sync::OnceLock<Result<Pool, CliError>>,
}

impl Start {
    fn new(settings: &Settings, workers: usize, interrupt: OwnedFd) -> Result<Self, CliError> {
        let host = Arc::new(host::open(settings)?);
        // Twice as many boxes as workers: while one is ended and the next prepared, another is there.
        Ok(Self { host, slots: workers * 2, interrupt, pool: std::sync::OnceLock::new() })
    }

    fn pool(&self, job: &Job) -> Result<&Pool, &CliError> {
        let start = || {
            let interrupt = self.interrupt.try_clone().map_err(CliError::Signals)?;
            let pool = Pool::start(Arc::clone(&self.host), job.plan.clone(), self.slots, Some(interrupt));
            pool.map_err(CliError::Supervisor)
        };
        self.pool.get_or_init(start).as_ref()
    }

    fn started(&self) -> Option<&Pool> {
        self.pool.get()?.as_ref().ok()
    }
}

/// What all threads of a batch share.
struct Crew<'a> {
    settings: &'a Settings,
    workers: usize,
    stop: Stop,
    pool: Start,
    depth: Depth,
}

impl Crew<'_> {
    fn run(
        self,
        mut jobs: Jobs,
        done: BTreeMap<u64, String>,
        mut writer: Writer,
        (signals, interrupts): (Signals, Interrupts),
    ) -> Result<u8, CliError> {
        let total = jobs.total;
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
        let outcome = std::thread::scope(|scope| {
            let watch = scope.spawn(move || {
                interrupts.watch(&signals, &over, &crew.stop, crew.pool.slots);
                signals
            });
            let feeder = scope.spawn(move || crew.feed(&mut jobs, &done, &give, &take_room));
            for _ in 0..self.workers {
                let (tasks, finish) = (tasks.clone(), finish.clone());
                scope.spawn(move || crew.work(&tasks, &finish));
            }
            drop((tasks, finish));
            let written = crew.write(&mut writer, &finished, &give_room, total);
            // A writer that gave up leaves nobody waiting.
            drop((finished, give_room));
            let fed = feeder.join();
            drop(still_on);
            let signals = watch.join();
            (written, fed, signals)
        });
        let (written, fed, signals) = outcome;
        let tally = written?;
        writer.finish().map_err(CliError::Stdout)?;
        let fed = fed.map_err(|_| CliError::Stdout(io::ErrorKind::Other.into()))?;
        let left = self.end(tally)?;
        drop(signals);
        fed?;
        Ok(left)
    }

    /// Reads lines as long as there is room for their results.
    fn feed<'a>(
        &'a self,
        jobs: &mut Jobs,
        done: &BTreeMap<u64, String>,
        give: &Sender<Task<'a>>,
        room: &Receiver<()>,
    ) -> Result<(), CliError> {
        let (mut number, mut place) = (0, 0);
        while self.stop.signal().is_none() {
            let Some(line) = jobs.next().map_err(CliError::ReadJobs)? else { break };
            number += 1;
            if line.is_empty() {
                continue;
            }
            match done.get(&number) {
                Some(known) if *known == digest(&line) => continue,
                Some(_) => return Err(CliError::OtherJob { number }),
                None => {}
            }
            if room.recv().is_err() {
                break;
            }
            let queued = self.depth.enter();
            if give.send(Task { place, number, line, queued }).is_err() {
                break;
            }
            place += 1;
        }
        Ok(())
    }

    fn work(&self, tasks: &Receiver<Task<'_>>, finish: &Sender<Finished>) {
        for task in tasks {
            let place = task.place;
            let result = if self.stop.signal().is_some() { None } else { self.one(task) };
            if finish.send((place, result)).is_err() {
                break;
            }
        }
    }

    /// Runs one job; no result when it was interrupted.
    fn one(&self, task: Task<'_>) -> Option<JobResult> {
        let mut result = JobResult {
            schema: SCHEMA,
            job: task.number,
            id: None,
            digest: digest(&task.line),
            matches: None,
            error: None,
            report: None,
        };
        match Job::parse(&task.line, self.settings) {
            Err(Wrong { id, reason }) => (result.id, result.error) = (id, Some(reason)),
            Ok(job) => {
                result.id.clone_from(&job.id);
                match self.run_job(&job, task.queued) {
                    Ok((report, _)) if report.cause == Cause::Interrupted => return None,
                    Ok((report, matches)) => (result.report, result.matches) = (Some(report), matches),
                    Err(error) => result.error = Some(error),
                }
            }
        }
        Some(result)
    }

    fn run_job(&self, job: &Job, queued: Queued<'_>) -> Result<(Box<RunReport>, Option<bool>), String> {
        let refused = |error: &CliError| health::count_refusal(self.settings, error);
        let worker = health::before_run(self.settings).inspect_err(refused).map_err(|error| error.line())?;
        let (files, output): (Files, _) = inputs::open(job).map_err(|error| format!("the job's files: {error}"))?;
        let pool = self.pool.pool(job).inspect_err(|error| refused(error)).map_err(|error| error.line())?;
        let begun = pool.begin(job.plan.clone(), files);
        drop(queued);
        let ended = begun.and_then(Begun::finish).map_err(CliError::Supervisor).inspect_err(refused);
        let report = ended.map_err(|error| error.line())?;
        health::after_run(self.settings, worker.as_deref(), &report);
        let matches = inputs::compare(job, output).map_err(|error| format!("compare the output: {error}"))?;
        Ok((Box::new(report), matches))
    }

    fn write(
        &self,
        writer: &mut Writer,
        finished: &Receiver<Finished>,
        room: &Sender<()>,
        total: Option<u64>,
    ) -> Result<Tally, CliError> {
        let mut progress = Progress::start();
        let mut now = Now { total, ..Now::default() };
        let mut violated = false;
        for (place, result) in finished {
            if let Some(result) = &result {
                now.done += 1;
                now.failed += u64::from(result.report.is_none());
                violated |= result.report.as_ref().is_some_and(|report| is_violated(report));
            }
            let freed = writer.take(place, result).map_err(CliError::Stdout)?;
            for _ in 0..freed {
                // The feeder may have gone already; then nobody needs room.
                let _ = room.try_send(());
            }
            now.queued = self.depth.now();
            now.waiting = self.pool.started().map_or(0, |pool| pool.counts().waiting);
            progress.show(&now);
        }
        say([progress.finish(&now)]);
        Ok(Tally { failed: now.failed > 0, violated })
    }

    /// Ends the pool, and says what the batch came to.
    fn end(self, tally: Tally) -> Result<u8, CliError> {
        let mut violated = tally.violated;
        if let Some(Ok(pool)) = self.pool.pool.into_inner() {
            let counts = pool.counts();
            tracing::info!(warm = counts.warm, cold = counts.cold, discarded = counts.discarded, "batch ended");
            for report in pool.close() {
                if report.containment.verdict != ContainmentVerdict::Contained {
                    violated |= is_violated(&report);
                    health::after_run(self.settings, None, &report);
                }
            }
        }
        Ok(match self.stop.signal() {
            _ if violated => ExitCode::CONTAINMENT_VIOLATION,
            Some(signal) => u8::try_from(128 + signal).unwrap_or(ExitCode::INTERNAL),
            None if tally.failed => SOME_FAILED,
            None => 0,
        })
    }
}

fn is_violated(report: &RunReport) -> bool {
    report.containment.verdict == ContainmentVerdict::Violated
}

/// What the results say together.
struct Tally {
    failed: bool,
    violated: bool,
}
