//! What `rustbox doctor` tells about cgroups: found out by making a box's cgroups and using them.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use rustbox_core::{BoxId, ByteSize, CgroupBackend, CpuRate, CpuSet, Limits, MemoryMax, Mode, PidsMax, ResourceLimits};

use crate::error::Error;
use crate::group::BoxCgroup;
use crate::hierarchies::{Hierarchies, read_mountinfo};
use crate::kill::KillMethod;
use crate::layout::Control;
use crate::mountinfo;

/// Longest wait for the removal of the probe's own, always empty, cgroups.
const REMOVE_DEADLINE: Duration = Duration::from_secs(1);

/// How good a thing is for running boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Boxes run, with less: see the fix.
    Limited,
    /// Boxes are refused in strict mode.
    Fail,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What was tried.
    pub name: &'static str,
    /// How good it is.
    pub verdict: Verdict,
    /// What this host has.
    pub found: String,
    /// What boxes need.
    pub required: &'static str,
    /// What to do about it; none when nothing needs to be done.
    pub fix: Option<String>,
}

impl Hierarchies {
    /// Tries everything that a box needs, on a throw-away box called `probe-<random>` without a process in it.
    ///
    /// What a crash in the middle leaves is an empty box of that name, which any collection of dead boxes removes.
    /// Some hundred system calls: for `doctor`, not for a run.
    #[must_use]
    pub fn probe(&self) -> Vec<Probe> {
        let mut probes = vec![self.probe_backend(), probe_favordynmods()];
        // 64 random bits: two doctors at once do not meet.
        let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
        let named = format!("probe-{}", BoxId::from_random(random)).parse::<BoxId>().ok();
        let Some((id, wished)) = named.zip(self.probe_limits()) else { return probes };
        for missing in self.missing(&wished) {
            // The optional ones are missed only by those who ask for them.
            let optional = ["cpus", "cpuset"].contains(&missing.control.as_str());
            probes.push(Probe {
                name: "cgroup control",
                verdict: if optional { Verdict::Limited } else { Verdict::Fail },
                found: missing.reason,
                required: "memory, pids, CPU accounting; cpu and cpuset for `--cpus` and `--cpuset`",
                fix: Some(missing.fix),
            });
        }
        match self.create(&id, &wished, Mode::Permissive) {
            Err(error) => probes.push(failed("cgroup creation", "create a cgroup with limits", &error)),
            Ok(group) => {
                probe_group(&group, &mut probes);
                probes.push(probe_removal(group));
            }
        }
        probes
    }

    /// Small limits with everything that this host offers.
    fn probe_limits(&self) -> Option<Limits> {
        Some(Limits {
            memory: MemoryMax::new(ByteSize(MemoryMax::MIN_BYTES))?,
            pids: PidsMax::new(1)?,
            cpus: Some(CpuRate { milli_cpus: 1000 }),
            cpuset: self.layout.home(Control::CpuSet).and_then(|_| first_cpu()),
            cpu_time: None,
            wall_time: None,
            extra_time: Duration::ZERO,
            output: None,
            process: ResourceLimits {
                file_size: None,
                open_files: 1,
                stack: None,
                core: 0,
                address_space: None,
                cpu_seconds: None,
            },
        })
    }

    fn probe_backend(&self) -> Probe {
        let roots: Vec<String> = self.roots().iter().map(|path| path.display().to_string()).collect();
        let on_v1 = self.backend() == CgroupBackend::V1;
        Probe {
            name: "cgroup backend",
            verdict: if on_v1 { Verdict::Limited } else { Verdict::Pass },
            found: format!("{}: {}", self.backend(), roots.join(" ")),
            required: "v2, or v1 with a cgroup2 mount beside it",
            fix: on_v1.then(|| "mount cgroup2 as well: without it boxes are killed process by process".to_owned()),
        }
    }
}

/// What a box's cgroups tell and take.
fn probe_group(group: &BoxCgroup, probes: &mut Vec<Probe>) {
    for applied in group.applied() {
        probes.push(Probe {
            name: "cgroup limit",
            verdict: Verdict::Pass,
            found: format!(
                "{}: wrote {}, reads {} ({})",
                applied.control, applied.requested, applied.read_back, applied.source
            ),
            required: "every limit reads back as written",
            fix: None,
        });
    }
    probes.push(probe_kill(group));
    probes.push(told("out-of-memory event", group.oom_event_fd().map(|_| "can be polled".to_owned())));
    probes.push(told("out-of-memory count", group.oom_kills().map(|count| format!("reads {count}"))));
    let peak = group.memory_peak().map(|(bytes, source)| format!("{source:?} reads {bytes} bytes"));
    probes.push(told("memory peak", peak));
    probes.push(told("refused forks", group.pids_refusals().map(|count| format!("pids.events reads {count}"))));
    probes.push(told("tasks", group.pids_current().map(|count| format!("pids.current reads {count}"))));
}

/// Kills the empty box. On v1 that is a look at an empty list, and cgroup.kill is what is lacking.
fn probe_kill(group: &BoxCgroup) -> Probe {
    const NAME: &str = "kill";
    const REQUIRED: &str = "cgroup.kill (Linux 5.14)";
    match group.kill() {
        Err(error) => failed(NAME, REQUIRED, &error),
        Ok(KillMethod::CgroupKill) => {
            Probe { name: NAME, verdict: Verdict::Pass, found: "cgroup.kill".to_owned(), required: REQUIRED, fix: None }
        }
        Ok(other) => Probe {
            name: NAME,
            verdict: Verdict::Limited,
            found: format!("{other:?}"),
            required: REQUIRED,
            fix: Some(
                if group.clone_into().is_some() { "use Linux 5.14 or later" } else { "mount cgroup2" }.to_owned(),
            ),
        },
    }
}

fn probe_removal(group: BoxCgroup) -> Probe {
    let paths = group.paths();
    let (verdict, found) = match group.remove(REMOVE_DEADLINE) {
        Ok(()) if paths.iter().any(|path| path.exists()) => (Verdict::Fail, "a directory is still there".to_owned()),
        Ok(()) => (Verdict::Pass, format!("{} directories removed", paths.len())),
        Err(error) => (Verdict::Fail, error.to_string()),
    };
    let fix = (verdict == Verdict::Fail).then(|| "look for a process or a child directory in it".to_owned());
    Probe { name: "cgroup removal", verdict, found, required: "rmdir", fix }
}

/// Moving a whole process to another cgroup waits for an RCU grace period unless the mount says otherwise. That is the
/// host's choice; an init moves its one thread.
fn probe_favordynmods() -> Probe {
    let found = match read_mountinfo().map(|text| mountinfo::parse(&text)) {
        Err(error) => format!("unknown: {error}"),
        Ok(mounts) => {
            let with: Vec<String> = mounts
                .v2
                .iter()
                .chain(&mounts.v1)
                .filter(|m| m.favordynmods)
                .map(|m| m.path.display().to_string())
                .collect();
            if with.is_empty() { "on no mount".to_owned() } else { with.join(" ") }
        }
    };
    let required = "nothing; with it whoever moves processes between cgroups waits less (Linux 6.0)";
    Probe { name: "favordynmods", verdict: Verdict::Pass, found, required, fix: None }
}

/// Something that the report tells when the kernel does, and leaves null when it does not.
fn told(name: &'static str, found: Option<String>) -> Probe {
    let verdict = if found.is_some() { Verdict::Pass } else { Verdict::Limited };
    let fix = found.is_none().then(|| "use a newer kernel; without it the report has a null there".to_owned());
    Probe {
        name,
        verdict,
        found: found.unwrap_or_else(|| "not told by this kernel".to_owned()),
        required: "evidence",
        fix,
    }
}

fn failed(name: &'static str, required: &'static str, error: &Error) -> Probe {
    let mut found = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        found = format!("{found}: {source}");
        cause = source.source();
    }
    Probe { name, verdict: Verdict::Fail, found, required, fix: error.fix().map(str::to_owned) }
}

/// A CPU that is sure to be there: the first of those that we may run on.
fn first_cpu() -> Option<CpuSet> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().split([',', '-']).next()?.parse().ok()
}
