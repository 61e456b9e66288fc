//! What a look at the host costs, beside the operators' own tool and beside a loop in C that reads the same files, on
//! this many more idle processes.
//!
//! `cargo run --release -p rustbox-audit --example scan_cost -- 1000 2500 5000 10000 --svg docs/bench/audit.svg`
//!
//! Everything is measured in turn, in processor time, and the least of all rounds counts: what else a host does only adds
//! to it. Needs root for its cgroups, and `cc`. With `--check` it fails when a target is missed.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

mod chart;
mod stage;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustbox_audit::{
    AuditOptions, BoxMarks, Phase, PidNamespaceMark, ProcRoot, ProcSnapshot, Registry, audit, read_cgroups,
};

use rustix::time::{ClockId, clock_gettime};
use stage::{Crowd, Groups, Loop, Programs};

type Failure = Box<dyn std::error::Error>;

/// Measurements of each kind.
const ROUNDS: usize = 11;
/// Groups that the crowd is spread over, as boxes would be.
const GROUPS: usize = 20;

/// Processor time on one size of a host.
#[derive(Clone, Debug)]
struct Point {
    processes: usize,
    look: Duration,
    c_loop: Duration,
    ps: Duration,
    cgroups: Duration,
}

/// What the numbers have to be.
const PS_TIMES_MIN: f64 = 5.0;
const C_TIMES_MAX: f64 = 1.25;
const CGROUPS_MS_PER_1000_MAX: f64 = 1.0;
const MEMORY_KIB_MAX: u64 = 20 << 10;

impl Point {
    fn ps_times(&self) -> f64 {
        self.ps.as_secs_f64() / self.look.as_secs_f64()
    }

    fn c_times(&self) -> f64 {
        self.look.as_secs_f64() / self.c_loop.as_secs_f64()
    }

    fn cgroups_ms_per_1000(&self, crowd: usize) -> f64 {
        self.cgroups.as_secs_f64() * 1e6 / crowd as f64
    }
}

fn processor_time() -> Result<Duration, Failure> {
    Ok(Duration::try_from(clock_gettime(ClockId::ThreadCPUTime))?)
}

/// The same of all children that were waited for. The kernel tells it in ticks, 10 ms each: of the slowest here that is a
/// tenth at most, and rounded down.
fn processor_time_of_children() -> Result<Duration, Failure> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(") ").ok_or("no stat")?;
    let ticks: u64 = fields.split(' ').skip(13).take(2).map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

fn least(times: Vec<Duration>) -> Duration {
    times.into_iter().min().unwrap_or_default()
}

/// Marks of every kind, so that a look reads everything that a look ever reads of strangers.
fn strangers() -> Result<Registry, Failure> {
    let mut marks = BoxMarks::new("measured".parse()?, Phase::Live);
    marks.pid_namespace = Some(PidNamespaceMark::recorded(1));
    marks.audit_session = Some(7);
    Ok(Registry { boxes: vec![marks], uids: Some(70_000..=70_999), ..Registry::default() })
}

fn measure(root: &ProcRoot, programs: &Programs, count: usize) -> Result<Point, Failure> {
    let groups = Groups::create(GROUPS)?;
    let crowd = Crowd::start(programs, count, groups.directories())?;
    let mut c_loop = Loop::start(programs)?;
    let (registry, own) = (strangers()?, groups.registry()?);
    let (mut look, mut by_c, mut ps, mut cgroups) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut processes = 0;
    for _ in 0..ROUNDS {
        let start = processor_time()?;
        processes = ProcSnapshot::take(root, &registry)?.pids.len();
        look.push(processor_time()?.saturating_sub(start));
        by_c.push(c_loop.pass()?);
        let start = processor_time()?;
        let members: usize = read_cgroups(&own)
            .iter()
            .filter_map(|seen| seen.state.as_ref().ok())
            .map(|state| state.members.len())
            .sum();
        cgroups.push(processor_time()?.saturating_sub(start));
        if members < count {
            return Err(format!("the cgroups list {members} of {count} processes").into());
        }
        let start = processor_time_of_children()?;
        Command::new("ps").args(["-eo", "pid,ppid,stat,cgroup,pidns"]).stdout(Stdio::null()).status()?;
        ps.push(processor_time_of_children()?.saturating_sub(start));
    }
    // The whole audit once, for the memory that it takes.
    let report = audit(root, &mut || registry.clone(), &AuditOptions::default())?;
    println!(
        "{processes} processes, the least of {ROUNDS} rounds, in processor time; {:?} by {} looks:",
        report.verdict, report.looks
    );
    drop(crowd);
    Ok(Point { processes, look: least(look), c_loop: least(by_c), ps: least(ps), cgroups: least(cgroups) })
}

/// The most memory that this process ever had resident.
fn memory_peak_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn show(point: &Point, crowd: usize) -> bool {
    let rows = [
        ("a look of the audit", point.look, String::new()),
        ("a C loop that reads the same files", point.c_loop, format!("a look takes {:.2} times that", point.c_times())),
        ("ps -eo pid,ppid,stat,cgroup,pidns", point.ps, format!("{:.1} times a look", point.ps_times())),
        (
            "a pass over our own cgroups",
            point.cgroups,
            format!("{:.2} ms per 1,000 members", point.cgroups_ms_per_1000(crowd)),
        ),
    ];
    for (what, time, note) in rows {
        println!("  {what:<36} {:>9.2} ms  {note}", time.as_secs_f64() * 1e3);
    }
    point.ps_times() >= PS_TIMES_MIN
        && point.c_times() <= C_TIMES_MAX
        && point.cgroups_ms_per_1000(crowd) < CGROUPS_MS_PER_1000_MAX
}

fn main() -> Result<ExitCode, Failure> {
    let (mut counts, mut svg, mut is_checked) = (Vec::new(), None, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--svg" => svg = Some(PathBuf::from(arguments.next().ok_or("--svg needs a file")?)),
            "--check" => is_checked = true,
            count => counts.push(count.parse::<usize>()?),
        }
    }
    if counts.is_empty() {
        counts.push(1000);
    }
    let root = ProcRoot::open_host()?;
    let programs = Programs::compile()?;
    let mut points = Vec::new();
    let mut is_met = true;
    for count in counts {
        let point = measure(&root, &programs, count)?;
        is_met &= show(&point, count);
        points.push(point);
    }
    let memory = memory_peak_kib()?;
    is_met &= memory < MEMORY_KIB_MAX;
    println!("memory at most: {:.1} MB", memory as f64 / 1024.0);
    println!(
        "targets: ps at least {PS_TIMES_MIN} looks, a look at most {C_TIMES_MAX} C loops, memory under 20 MB: {}",
        { if is_met { "met" } else { "MISSED" } }
    );
    if let Some(path) = svg {
        std::fs::write(&path, chart::draw(&points, &root.observer().kernel))?;
    }
    Ok(if is_checked && !is_met { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
