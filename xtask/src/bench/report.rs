//! What a benchmark came to, as CSV, Markdown and charts.

use std::fmt::Write;

use super::calls::Calls;
use super::chart::{Bar, bars};
use super::check::{Target, targets};
use super::contender::{BARE, Contender, RUSTBOX, RUSTBOX_NO_V1};
use super::killing::Kill;
use super::stages::Step;
use super::stats::Samples;
use super::warm::Warm;

/// Everything that one run of the benchmark measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Kernel, processors, cgroups, seed.
    pub(crate) host: String,
    pub(crate) contenders: Vec<Contender>,
    /// Paths of this machine, and what stands for them in what is written.
    pub(crate) places: Vec<(String, &'static str)>,
    pub(crate) samples: Vec<Samples>,
    pub(crate) calls: Vec<Option<Calls>>,
    /// Peak resident set of all processes of a contender beside its program, in KiB.
    pub(crate) peaks: Vec<Option<u64>>,
    /// Peak resident set of each of our processes, in KiB.
    pub(crate) memory: Vec<(String, u64)>,
    pub(crate) warm: Option<Warm>,
    pub(crate) steps: Vec<Step>,
    /// Contender, workers, runs per second.
    pub(crate) throughput: Vec<(String, usize, f64)>,
    pub(crate) kills: Vec<Kill>,
    /// The idle host first.
    pub(crate) crowded: Vec<Crowded>,
}

/// Our medians on a host that is full, in ratio to a bare spawn's in the same rounds.
#[derive(Clone, Debug)]
pub(crate) struct Crowded {
    /// What it was full of.
    pub(crate) crowd: String,
    /// A run that copies the host's mounts.
    pub(crate) as_it_is: f64,
    /// A run after `rustbox prepare`.
    pub(crate) prepared: f64,
}

impl Report {
    fn index(&self, name: &str) -> Option<usize> {
        self.contenders.iter().position(|contender| contender.name == name)
    }

    pub(crate) fn samples(&self, name: &str) -> Option<&Samples> {
        self.samples.get(self.index(name)?)
    }

    /// How long a run of a contender takes in milliseconds, less what its way in takes, if it needs one: that of its
    /// neighbour that does nothing there.
    pub(crate) fn wall(&self, name: &str, percent: usize) -> Option<f64> {
        let wall = self.samples(name)?.wall(percent);
        let Some(way) = self.contenders.iter().find(|one| one.way_of == Some(name)) else { return Some(wall) };
        Some(wall - (self.samples(way.name)?.wall(percent) - self.samples(BARE)?.wall(percent)))
    }

    pub(crate) fn calls(&self, name: &str) -> Option<Calls> {
        self.calls.get(self.index(name)?).copied().flatten()
    }

    fn bare_p50(&self) -> f64 {
        self.samples(BARE).map_or(0.0, |samples| samples.wall(50)).max(f64::MIN_POSITIVE)
    }

    /// How long a run of ours takes in ratio to one of a contender's; none where either was not measured.
    pub(crate) fn ratio(&self, ours: &str, other: &str, percent: usize) -> Option<f64> {
        let other = self.wall(other, percent)?;
        Some(self.wall(ours, percent)? / other).filter(|_| other > 0.0)
    }

    /// One line for each contender: name, note, and its numbers by the names of their columns.
    fn lines(&self) -> impl Iterator<Item = (&Contender, Vec<(&'static str, String)>)> {
        let rows = self.contenders.iter().zip(&self.samples).zip(&self.calls).zip(&self.peaks);
        rows.map(|(((contender, samples), calls), peak)| {
            let ms = |value: f64| format!("{value:.3}");
            let count = |value: Option<usize>| value.map_or(String::new(), |value| value.to_string());
            let ratio = |ours, percent| {
                self.ratio(ours, contender.name, percent).map_or(String::new(), |it| format!("{it:.2}"))
            };
            let numbers = vec![
                ("runs", samples.count().to_string()),
                ("p50_ms", ms(samples.wall(50))),
                ("p95_ms", ms(samples.wall(95))),
                ("p99_ms", ms(samples.wall(99))),
                ("to_bare", format!("{:.2}", samples.wall(50) / self.bare_p50())),
                ("rustbox_to_it_p50", ratio(RUSTBOX, 50)),
                ("rustbox_to_it_p95", ratio(RUSTBOX, 95)),
                ("rustbox_no_v1_to_it_p50", ratio(RUSTBOX_NO_V1, 50)),
                ("rustbox_no_v1_to_it_p95", ratio(RUSTBOX_NO_V1, 95)),
                ("cpu_p50_ms", ms(samples.cpu())),
                ("calls_to_exec", count(calls.map(|calls| calls.to_exec))),
                ("calls_in_all", count(calls.map(|calls| calls.in_all))),
                ("peak_kib", peak.map_or(String::new(), |kib| kib.to_string())),
            ];
            (contender, numbers)
        })
    }

    pub(crate) fn csv(&self) -> String {
        let mut csv = String::new();
        for (contender, numbers) in self.lines() {
            if csv.is_empty() {
                let names: Vec<&str> = numbers.iter().map(|(name, _)| *name).collect();
                csv = format!("contender,{}\n", names.join(","));
            }
            let values: Vec<&str> = numbers.iter().map(|(_, value)| value.as_str()).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(csv, "{},{}", contender.name, values.join(","));
        }
        csv
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# Measured\n\nWritten by `cargo xtask bench`. Times are of the machine below, under the load that it had; \
             what counts is the ratio of two lines,\nsince every round runs every contender once, in a new order.\n\n\
             {}\n\n## One run of a static program that does nothing\n\n![p50 and p95](latency.svg)\n\n",
            self.host
        );
        self.latency(&mut text);
        self.warm(&mut text);
        self.own(&mut text);
        text.push_str("\n## Targets\n\n| ratio | at most | measured | |\n|---|---|---|---|\n");
        for target in targets(self) {
            let measured = target.measured.map_or("-".to_owned(), |measured| format!("{measured:.2}"));
            let Target { what, at_most, .. } = &target;
            let _ = writeln!(text, "| {what} | {at_most:.2} | {measured} | {} |", target.verdict());
        }
        text.push_str("\n## Command lines\n\n");
        for contender in &self.contenders {
            let line = self.places.iter().fold(contender.text(), |line, (path, name)| line.replace(path, name));
            let _ = writeln!(text, "- {} ({}):\n  `{line}`", contender.name, contender.note);
        }
        text
    }

    fn latency(&self, text: &mut String) {
        const COLUMNS: [(&str, &str); 12] = [
            ("p50_ms", "p50 ms"),
            ("p95_ms", "p95 ms"),
            ("p99_ms", "p99 ms"),
            ("to_bare", "to bare"),
            ("rustbox_to_it_p50", "rustbox to it, p50"),
            ("rustbox_to_it_p95", "p95"),
            ("rustbox_no_v1_to_it_p50", "without v1, p50"),
            ("rustbox_no_v1_to_it_p95", "p95"),
            ("cpu_p50_ms", "CPU ms"),
            ("calls_to_exec", "calls to exec"),
            ("calls_in_all", "calls in all"),
            ("peak_kib", "peak KiB beside the program"),
        ];
        let heads: Vec<&str> = COLUMNS.iter().map(|(_, head)| *head).collect();
        let _ = writeln!(text, "| | {} | |\n|---|{}", heads.join(" | "), "---|".repeat(COLUMNS.len() + 1));
        for (contender, numbers) in self.lines() {
            let value = |(name, _): &(&str, &str)| {
                let found = numbers.iter().find(|(column, _)| column == name).map(|(_, value)| value.as_str());
                found.filter(|value| !value.is_empty()).unwrap_or("-").to_owned()
            };
            let values: Vec<String> = COLUMNS.iter().map(value).collect();
            let _ = writeln!(text, "| {} | {} | {} |", contender.name, values.join(" | "), contender.note);
        }
    }

    fn warm(&self, text: &mut String) {
        let Some(warm) = self.warm else { return };
        let Warm { p50_us, p95_us, bare_p50_us, bare_p95_us, busy_p50_us, busy_p95_us, .. } = warm;
        let Warm { per_second, c_per_second, c_full_per_second, .. } = warm;
        let _ = write!(
            text,
            "\n## Boxes that were prepared (`rustbox batch`)\n\n| | |\n|---|---|\n\
             | request to the payload's end, p50, a request 5 ms after the last result | {p50_us:.0} us |\n\
             | the same, p95 | {p95_us:.0} us |\n\
             | vfork, exec, wait in C, p50, with the same pauses | {bare_p50_us:.0} us |\n\
             | the same, p95 | {bare_p95_us:.0} us |\n\
             | request to the payload's end, p50, while the next boxes are prepared | {busy_p50_us:.0} us |\n\
             | the same, p95 | {busy_p95_us:.0} us |\n\
             | runs per second, a worker for each processor, every box proved clean | {per_second:.0} |\n\
             | single-use boxes per second of as many C loops, which set up no root and prove nothing | {c_per_second:.0} |\n\
             | the same with a root, credentials and a filter, and nothing proved | {c_full_per_second:.0} |\n"
        );
    }

    fn own(&self, text: &mut String) {
        text.push_str("\n## Where a run of ours spends its time\n\n| until | p50 us | p95 us |\n|---|---|---|\n");
        for step in &self.steps {
            let _ = writeln!(text, "| {} | {:.0} | {:.0} |", step.name, step.p50_us, step.p95_us);
        }
        text.push_str("\n## Memory of our processes beside the program, at its peak\n\n| process | KiB |\n|---|---|\n");
        for (name, kib) in &self.memory {
            let _ = writeln!(text, "| {name} | {kib} |");
        }
        if !self.throughput.is_empty() {
            text.push_str("\n## Runs per second\n\n![runs per second](throughput.svg)\n\n| | workers | per second |\n|---|---|---|\n");
        }
        for (name, workers, rate) in &self.throughput {
            let _ = writeln!(text, "| {name} | {workers} | {rate:.0} |");
        }
        if !self.kills.is_empty() {
            text.push_str(
                "\n## Killing\n\n| processes | until empty, ms | until removed and audited, ms | C loop, ms |\n|---|---|---|---|\n",
            );
        }
        for kill in &self.kills {
            let Kill { processes, emptied_ms, removed_ms, c_ms } = kill;
            let _ = writeln!(text, "| {processes} | {emptied_ms:.1} | {removed_ms:.1} | {c_ms:.1} |");
        }
        if !self.crowded.is_empty() {
            text.push_str(
                "\n## A host that is full\n\nThe p50 in bare spawns of the same rounds.\n\n\
                 | with | on the host as it is | after `rustbox prepare` |\n|---|---|---|\n",
            );
        }
        for Crowded { crowd, as_it_is, prepared } in &self.crowded {
            let _ = writeln!(text, "| {crowd} | {as_it_is:.1} | {prepared:.1} |");
        }
    }

    /// The chart of the README.
    pub(crate) fn latency_chart(&self) -> String {
        let bar = |(contender, samples): (&Contender, &Samples)| Bar {
            name: contender.name.to_owned(),
            value: samples.wall(50),
            upper: Some(samples.wall(95)),
            ours: contender.name.starts_with("rustbox"),
        };
        let rows: Vec<Bar> = self.contenders.iter().zip(&self.samples).map(bar).collect();
        bars("One sandboxed run of a program that does nothing: p50, line to p95", "ms", &rows)
    }

    /// Runs per second with as many workers as there were most.
    pub(crate) fn throughput_chart(&self) -> String {
        let most = self.throughput.iter().map(|(_, workers, _)| *workers).max().unwrap_or(0);
        let rows = self.throughput.iter().filter(|(name, workers, _)| *workers == most && name != BARE);
        let bar = |name: &str, rate: f64| Bar {
            name: name.to_owned(),
            value: rate,
            upper: None,
            ours: name.starts_with("rustbox"),
        };
        let mut rows: Vec<Bar> = rows.map(|(name, _, rate)| bar(name, *rate)).collect();
        rows.extend(self.warm.iter().map(|warm| bar("rustbox batch", warm.per_second)));
        bars(&format!("Runs per second, {most} at once"), "/s", &rows)
    }

    pub(crate) fn stages_chart(&self) -> String {
        let bar = |step: &Step| Bar { name: step.name.clone(), value: step.p50_us / 1e3, upper: None, ours: true };
        bars("Where one run spends its time, p50", "ms", &self.steps.iter().map(bar).collect::<Vec<_>>())
    }
}
