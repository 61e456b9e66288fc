//! What the control groups can do; found out by the crate that uses them, on a box without processes.

use rustbox_cgroup::Hierarchies;

use super::{Need, Verdict};
use crate::config::Settings;

pub(super) fn cgroups(settings: &Settings) -> Vec<Need> {
    match Hierarchies::detect_at(settings.run.cgroup_backend, settings.cgroup_root.as_deref()) {
        Ok(hierarchies) => hierarchies.probe().into_iter().map(need).collect(),
        Err(e) => {
            let fix = e.fix().unwrap_or("mount -t cgroup2 none /sys/fs/cgroup");
            vec![Need::new("cgroups", Verdict::Fail, crate::error::chain(&e), "a mounted cgroup file system").fix(fix)]
        }
    }
}

fn need(probe: rustbox_cgroup::Probe) -> Need {
    let verdict = match probe.verdict {
        rustbox_cgroup::Verdict::Pass => Verdict::Pass,
        rustbox_cgroup::Verdict::Limited => Verdict::Limited,
        rustbox_cgroup::Verdict::Fail => Verdict::Fail,
    };
    Need { fix: probe.fix, ..Need::new(probe.name, verdict, probe.found, probe.required) }
}
