//! The targets, each as a ratio within one run, never as a time.

use super::contender::{BARE, RUSTBOX, RUSTBOX_NO_V1};
use super::report::Report;

/// One target, and what was measured.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) at_most: f64,
    /// None where it could not be measured here: that is no pass.
    pub(crate) measured: Option<f64>,
}

impl Target {
    pub(crate) fn holds(&self) -> bool {
        self.measured.is_some_and(|measured| measured <= self.at_most)
    }

    pub(crate) fn verdict(&self) -> &'static str {
        match self.measured {
            None => "not measured here",
            Some(_) if self.holds() => "met",
            Some(_) => "NOT MET",
        }
    }
}

/// Every target, with what this run measured of it.
pub(crate) fn targets(report: &Report) -> Vec<Target> {
    let mut targets = Vec::new();
    for (ours, peer) in [(RUSTBOX_NO_V1, "bwrap"), (RUSTBOX, "crun")] {
        for (percent, at_most) in [(50, 0.5), (95, 0.7)] {
            let measured = report.ratio(ours, peer, percent);
            targets.push(Target { what: format!("p{percent} of {ours} to that of {peer}"), at_most, measured });
        }
    }
    for (what, pick) in [("to the exec", 0), ("in all", 1)] {
        let calls = |name| report.calls(name).map(|calls| if pick == 0 { calls.to_exec } else { calls.in_all });
        let measured = calls(RUSTBOX).zip(calls("bwrap")).map(|(a, b)| number(a) / number(b).max(1.0));
        targets.push(Target { what: format!("system calls {what}, rustbox to bwrap"), at_most: 1.0, measured });
    }
    let supervisor = report.memory.iter().find(|(name, _)| name == "rustbox").map(|(_, kib)| *kib);
    let measured = supervisor.and_then(|kib| u32::try_from(kib).ok()).map(|kib| f64::from(kib) / (3.0 * 1024.0));
    targets.push(Target { what: "peak resident set of the supervisor to 3 MiB".to_owned(), at_most: 1.0, measured });
    if let Some(warm) = &report.warm {
        let mut add = |what: &str, at_most, measured| {
            targets.push(Target { what: what.to_owned(), at_most, measured: Some(measured) });
        };
        add("warm: p50 from request to the payload's end, to vfork and exec in C", 2.0, warm.p50_us / warm.bare_p50_us);
        add("warm: p95 of the same, to 1 ms", 1.0, warm.p95_us / 1e3);
        let rate = warm.c_per_second / warm.per_second.max(f64::MIN_POSITIVE);
        add("warm: runs per second of a C loop, to ours (0.9 of it)", 1.0 / 0.9, rate);
    }
    for kill in &report.kills {
        let what = format!("kill of {} until empty and removed, to a C loop", kill.processes);
        targets.push(Target { what, at_most: 1.25, measured: Some(kill.removed_ms / kill.c_ms) });
    }
    let idle = report.crowded.first().map(|idle| idle.prepared);
    for full in report.crowded.iter().skip(1) {
        let measured = idle.filter(|idle| *idle > 0.0).map(|idle| full.prepared / idle);
        targets.push(Target {
            what: format!("p50 with {}, to the same on an idle host, both prepared", full.crowd),
            at_most: 1.15,
            measured,
        });
    }
    debug_assert!(report.samples(BARE).is_some());
    targets
}

pub(crate) fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
