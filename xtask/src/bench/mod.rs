//! `cargo xtask bench`: rustbox beside every other sandbox that is installed, in one run.
//!
//! Times of different runs are not comparable, and of a busy machine hardly those of one: so each round runs every
//! contender once, in a shuffled order, and what is told and checked are ratios.

pub(crate) mod budget;
mod calls;
mod chart;
mod check;
mod contender;
mod crowded;
mod killing;
mod memory;
mod report;
mod rounds;
mod stages;
mod stats;
mod throughput;
mod warm;

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Args;

pub(crate) use self::contender::Stage;
use self::contender::{BARE, Contender, RUSTBOX, RUSTBOX_PREPARED};
use self::crowded::{Crowd, Fillers, Full};
use self::report::{Crowded, Report};
use self::stats::{Samples, Shuffle};
use crate::payloads;
use crate::workspace::Workspace;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Rounds; in each every contender runs once.
    #[arg(long, default_value_t = 300)]
    rounds: usize,
    /// Measure this program instead of the release binary, which is built otherwise.
    #[arg(long, value_name = "PATH")]
    rustbox: Option<PathBuf>,
    /// Where the table, the numbers and the charts are written; nothing is written without it.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "docs/bench")]
    out: Option<PathBuf>,
    /// Fail unless every target is met.
    #[arg(long)]
    check: bool,
    /// Leave out what takes long: full hosts, throughput, killing.
    #[arg(long)]
    quick: bool,
    /// How full the full hosts are: boxes, mounts and cgroups; there are ten times as many processes.
    #[arg(long, default_value_t = 1000)]
    crowd: usize,
    /// Seed of the order [default: the clock].
    #[arg(long)]
    seed: Option<u64>,
}

impl Arguments {
    /// As short as it can be: to see that it works.
    pub(crate) fn smoke() -> Self {
        Self { rounds: 3, rustbox: None, out: None, check: false, quick: true, crowd: 0, seed: None }
    }
}

/// Sizes of the crowds that are killed.
const KILLED: [usize; 2] = [500, 2000];
/// Workers of the throughput.
const WORKERS: [usize; 3] = [1, 2, 8];

/// The programs that are run, compiled.
struct Programs {
    fillers: Fillers,
    crowd: PathBuf,
    killer: PathBuf,
}

/// Measures, prints, writes, checks.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let rustbox = match &arguments.rustbox {
        Some(path) => path.canonicalize().with_context(|| format!("find {}", path.display()))?,
        None => workspace.release_binary()?,
    };
    let report = in_directory(|directory| measure(workspace, arguments, &rustbox, directory))?;
    let markdown = report.markdown();
    println!("{markdown}");
    if let Some(out) = &arguments.out {
        write(&workspace.root.join(out), &report, &markdown)?;
    }
    let missed = check::targets(&report).iter().filter(|target| !target.holds()).count();
    Ok(if arguments.check && missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Where directories are made: on a disk, as `/var/lib` is. Not below /tmp: rustbox refuses state where others can write.
const ON_DISK: &str = "/var/lib";
/// The same in memory, as `/run` is wherever systemd runs.
const IN_MEMORY: &str = "/dev/shm";

/// Does something with a directory that is removed afterwards, as is its twin in memory.
pub(crate) fn in_directory<T>(what: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let directory = Path::new(ON_DISK).join(format!("rustbox-bench-{}", std::process::id()));
    let both = [directory.clone(), twin_in_memory(&directory)?];
    let made = both.iter().try_for_each(|path| {
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).create(path).with_context(|| format!("make {} (this needs root)", path.display()))
    });
    let done = made.and_then(|()| what(&directory));
    let removed: Vec<Result<()>> = both.iter().filter(|path| path.exists()).map(|path| remove(path)).collect();
    let done = done?;
    removed.into_iter().collect::<Result<()>>()?;
    Ok(done)
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).with_context(|| format!("remove {}", path.display()))
}

/// A directory of ours, in memory.
pub(crate) fn twin_in_memory(directory: &Path) -> Result<PathBuf> {
    let name = directory.strip_prefix(ON_DISK).context("a directory of the benchmark")?;
    Ok(Path::new(IN_MEMORY).join(name))
}

fn write(directory: &Path, report: &Report, markdown: &str) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let files = [
        ("README.md", markdown.to_owned()),
        ("latency.csv", report.csv()),
        ("latency.svg", report.latency_chart()),
        ("stages.svg", report.stages_chart()),
    ];
    let throughput = (!report.throughput.is_empty()).then(|| ("throughput.svg", report.throughput_chart()));
    for (name, text) in files.into_iter().chain(throughput) {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

pub(crate) fn compile(workspace: &Workspace, directory: &Path, name: &str) -> Result<PathBuf> {
    let program = directory.join(name);
    let source = workspace.root.join("xtask/src/bench/programs").join(format!("{name}.c"));
    payloads::compile(&source, &program)?;
    Ok(program)
}

fn measure(workspace: &Workspace, arguments: &Arguments, rustbox: &Path, directory: &Path) -> Result<Report> {
    let nothing = compile(workspace, directory, "nothing")?;
    let stage = Stage::new(directory, rustbox, nothing)?;
    let programs = Programs {
        fillers: Fillers {
            waits: compile(workspace, directory, "waits")?,
            many: compile(workspace, directory, "many")?,
        },
        crowd: compile(workspace, directory, "crowd")?,
        killer: compile(workspace, directory, "killer")?,
    };
    let seed = arguments.seed.unwrap_or_else(clock);
    let mut shuffle = Shuffle(seed);
    let _prepared = stage.prepare()?;
    let boxloop = compile(workspace, directory, "boxloop")?;
    let contenders = contender::all(&stage, &boxloop)?;
    for contender in &contenders {
        println!("$ {}", contender.text());
    }
    let mut report = Report { host: host(seed, arguments.rounds), contenders, ..Report::default() };
    report.places = [(rustbox, "rustbox"), (directory, "$DIR"), (&stage.memory, "$MEMORY")]
        .map(|(path, name)| (path.display().to_string(), name))
        .into();
    report.samples = rounds::run(&report.contenders, arguments.rounds, &mut shuffle)?;
    report.calls = report.contenders.iter().map(|one| calls::count(one, directory)).collect::<Result<_>>()?;
    report.memory = memory::of_rustbox(&stage, &programs.fillers.waits)?;
    let waiting = contender::all(&stage.with(&programs.fillers.waits, "waiting")?, &boxloop)?;
    report.peaks = memory::of_all(&report.contenders, &waiting);
    let spawner = compile(workspace, directory, "spawner")?;
    report.warm = Some(warm::run(&stage, &spawner, &boxloop, arguments.rounds.max(50))?);
    report.steps = stages::breakdown(&stage, arguments.rounds)?;
    if !arguments.quick {
        throughputs(arguments, &mut report)?;
        for processes in KILLED {
            let runs = (arguments.rounds / 20).max(3);
            report.kills.extend(killing::run(&stage, &programs.crowd, &programs.killer, processes, runs)?);
        }
        full_hosts(arguments, &stage, &programs, &mut shuffle, &mut report)?;
    }
    Ok(report)
}

fn throughputs(arguments: &Arguments, report: &mut Report) -> Result<()> {
    for contender in &report.contenders {
        for workers in WORKERS {
            let rate = throughput::run(contender, workers, arguments.rounds)?;
            report.throughput.push((contender.name.to_owned(), workers, rate));
        }
    }
    Ok(())
}

fn full_hosts(
    arguments: &Arguments,
    stage: &Stage,
    programs: &Programs,
    shuffle: &mut Shuffle,
    report: &mut Report,
) -> Result<()> {
    let few = [BARE, RUSTBOX, RUSTBOX_PREPARED];
    let few: Vec<Contender> = report.contenders.iter().filter(|one| few.contains(&one.name)).cloned().collect();
    let count = arguments.crowd;
    let crowds = [
        Crowd::Nothing,
        Crowd::IdleBoxes(count),
        Crowd::Mounts(count),
        Crowd::Cgroups(count),
        Crowd::Processes(count * 10),
    ];
    for crowd in crowds {
        let full = Full::of(crowd, stage, &programs.fillers)?;
        let samples = rounds::run(&few, (arguments.rounds / 3).max(5), shuffle)?;
        drop(full);
        if let [bare, as_it_is, prepared] = samples.as_slice() {
            let ratio = |ours: &Samples| ours.wall(50) / bare.wall(50).max(f64::MIN_POSITIVE);
            let (as_it_is, prepared) = (ratio(as_it_is), ratio(prepared));
            report.crowded.push(Crowded { crowd: crowd.text(), as_it_is, prepared });
        }
    }
    Ok(())
}

fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What the numbers depend on.
fn host(seed: u64, rounds: usize) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let hybrid = read("/proc/self/mountinfo").lines().any(|line| line.contains(" - cgroup "));
    let cgroups = if hybrid { "v1 controllers beside v2" } else { "v2 alone" };
    format!(
        "Linux {}, {cpus} processors, cgroups: {cgroups}, load {load} when it began, {rounds} rounds, seed {seed}.",
        kernel.trim()
    )
}
