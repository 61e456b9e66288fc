//! One host's run of the proof: every attack of the table, then every part, with one line for each.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::attack::{self, Extra};
use super::oracle::{HostSight, hex};
use super::part::Part;
use super::parts::{PartProgram, run_program};
use super::report::{Attack, HostRun};
use super::table::{Case, Payload, payload_table};
use super::target::Target;
use crate::host::CgroupLayout;
use crate::skip::in_guest;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where reports and parts go.
    pub directory: PathBuf,
    /// A cgroup interface that rustbox is told to use.
    pub backend: Option<String>,
    /// Only attacks and parts whose name holds one of these, with commas between them.
    pub only: Option<String>,
    /// Test programs by name, for the parts; those that are not here are not planned.
    pub programs: Vec<(PartProgram, PathBuf)>,
    /// The numbers of the night instead of those of a change.
    pub full: bool,
    /// Attacks at the same time.
    pub jobs: usize,
    /// Another sandbox than rustbox.
    pub target: Option<Target>,
}

/// Where lines go: the terminal of whoever runs this.
pub type Tell<'a> = &'a mut dyn FnMut(&str);

/// Makes every attack and runs every part.
pub fn run_host(plan: &Plan, tell: Tell<'_>) -> HostRun {
    let begun = Instant::now();
    let started_at = crate::clock::now_rfc3339();
    let binary = crate::rustbox().to_owned();
    let table = payload_table();
    let wanted = |name: &str| plan.only.as_ref().is_none_or(|parts| parts.split(',').any(|part| name.contains(part)));
    let cases: Vec<(&Payload, &Case)> = table
        .iter()
        .flat_map(|p| p.case.iter().map(move |c| (p, c)))
        .filter(|(payload, case)| wanted(&payload.case_name(case)))
        .collect();
    let programs: Vec<_> = plan.programs.iter().filter(|(p, _)| wanted(&p.test)).collect();
    let planned = cases.len() + programs.iter().map(|(p, _)| p.writes.len()).sum::<usize>();
    let mut progress = Progress::new(cases.len(), programs.iter().map(|(p, _)| p).collect(), plan.full);
    let before = HostSight::read(&binary);
    let attacks = attack_all(&cases, plan, &mut progress, tell);
    let host = before.compare(&binary);
    let mut run = HostRun {
        shape: shape(plan.backend.as_deref()),
        target: plan.target.as_ref().map_or_else(|| "rustbox".to_owned(), |target| target.name.clone()),
        kernel: read_line("/proc/sys/kernel/osrelease"),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        binary_sha256: std::fs::read(&binary).map(|bytes| hex(&bytes)).unwrap_or_default(),
        started_at,
        seconds: 0.0,
        planned,
        attacks,
        parts: Vec::new(),
        missing: Vec::new(),
        host,
    };
    for (program, path) in programs {
        tell(&format!("{} {}, about {} s", progress.count(), program.test, progress.seconds(program)));
        let collected = run_program(program, path, &plan.directory, plan.full);
        for part in &collected.parts {
            tell(&progress.part(part));
        }
        collected.missing.iter().for_each(|why| tell(&format!("FAILED  {why}")));
        progress.done_program();
        run.parts.extend(collected.parts);
        run.missing.extend(collected.missing);
    }
    run.seconds = begun.elapsed().as_secs_f64();
    run
}

/// Makes the attacks, some at the same time, and hands them back in the table's order.
fn attack_all(cases: &[(&Payload, &Case)], plan: &Plan, progress: &mut Progress<'_>, tell: Tell<'_>) -> Vec<Attack> {
    let extra =
        Extra { global: plan.backend.iter().flat_map(|kind| ["--cgroup-backend".to_owned(), kind.clone()]).collect() };
    let mut done: Vec<Option<Attack>> = vec![None; cases.len()];
    let (jobs, queue) = crossbeam_channel::bounded(1);
    let (results, arrivals) = crossbeam_channel::bounded(plan.jobs);
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs {
            let (queue, results, extra) = (queue.clone(), results.clone(), &extra);
            scope.spawn(move || {
                for (number, payload, case) in queue {
                    let made = match &plan.target {
                        None => attack::make_or_skip(payload, case, extra),
                        Some(target) => target.make(payload, case),
                    };
                    if results.send((number, made)).is_err() {
                        break;
                    }
                }
            });
        }
        drop((queue, results));
        scope.spawn(move || {
            for (number, (payload, case)) in cases.iter().enumerate() {
                if jobs.send((number, *payload, *case)).is_err() {
                    break;
                }
            }
        });
        for (number, attack) in arrivals {
            tell(&progress.attack(&attack));
            done[number] = Some(attack);
        }
    });
    done.into_iter().flatten().collect()
}

/// `hybrid`, `v1` or `v2`, and whether this is the virtual machine.
fn shape(backend: Option<&str>) -> String {
    let layout = CgroupLayout::read();
    let own = match (&layout.unified, layout.v1.is_empty()) {
        (Some(_), true) => "v2",
        (Some(_), false) => "hybrid",
        (None, _) => "v1",
    };
    let shape = match backend {
        Some(backend) if backend != own => format!("{backend} on {own}"),
        Some(_) | None => own.to_owned(),
    };
    if in_guest() { format!("{shape} guest {}", read_line("/proc/sys/kernel/osrelease")) } else { shape }
}

fn read_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// What is done, and how long the rest will take.
struct Progress<'a> {
    attacks: usize,
    done: usize,
    begun: Instant,
    programs: Vec<&'a PartProgram>,
    full: bool,
}

impl<'a> Progress<'a> {
    fn new(attacks: usize, programs: Vec<&'a PartProgram>, full: bool) -> Self {
        Self { attacks, done: 0, begun: Instant::now(), programs, full }
    }

    fn seconds(&self, program: &PartProgram) -> u32 {
        if self.full { program.full_seconds } else { program.seconds }
    }

    fn count(&self) -> String {
        format!("[{}/{}]", self.done, self.attacks)
    }

    /// One line for an attack: what became of it, by which verdict, why not, and how long the rest takes.
    fn attack(&mut self, attack: &Attack) -> String {
        self.done += 1;
        let share = self.begun.elapsed() / u32::try_from(self.done).unwrap_or(u32::MAX);
        let rest = u32::try_from(self.attacks.saturating_sub(self.done)).unwrap_or(0);
        let parts: u32 = self.programs.iter().map(|p| self.seconds(p)).sum();
        let left = share * rest + Duration::from_secs(parts.into());
        let why = attack.objections.iter().chain(&attack.control_objections).cloned().collect::<Vec<_>>().join("; ");
        let told = if why.is_empty() { attack.verdict.clone() } else { why };
        let width = self.attacks.to_string().len();
        format!(
            "[{:>width$}/{}] {:<10} {:<38} {:>5.1} s  {told}  (about {} s left)",
            self.done,
            self.attacks,
            attack.outcome.word(),
            attack.name,
            attack.seconds,
            left.as_secs()
        )
    }

    fn part(&self, part: &Part) -> String {
        let word = if part.objections().is_empty() { "held" } else { "FAILED" };
        format!("{} {word:<10} {:<38} {:>5.1} s  {}", self.count(), part.name, part.seconds, tell_part(part))
    }

    fn done_program(&mut self) {
        if !self.programs.is_empty() {
            self.programs.remove(0);
        }
    }
}

/// Counts and bound of one part, in words.
#[must_use]
pub fn tell_part(part: &Part) -> String {
    let mut text = match part.bound() {
        Some(bound) => format!("0 of {} failed (95 % bound {bound:.1e})", part.tried),
        None => format!("{} of {} failed", part.failed, part.tried),
    };
    if part.not_reached > 0 {
        text.push_str(&format!(", {} not reached", part.not_reached));
    }
    for planted in &part.planted {
        text.push_str(&format!(", planted {} {}", planted.bug, if planted.turned_red { "noticed" } else { "MISSED" }));
    }
    text
}
