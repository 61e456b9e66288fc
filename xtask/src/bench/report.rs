//! What a benchmark came to, as CSV, Markdown and charts.

use std::fmt::Write;

use super::calls::Calls;
use super::chart::{Bar, bars};
use super::check::{Target, targets};
use super::contender::{BARE, Contender};
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
    /// Peak resident set of each of our processes, in KiB.
    pub(crate) memory: Vec<(String, u64)>,
    pub(crate) warm: Option<Warm>,
    pub(crate) steps: Vec<Step>,
    /// Contender, workers, runs per second.
    pub(crate) throughput: Vec<(String, usize, f64)>,
    pub(crate) kills: Vec<Kill>,
    /// What the host was full of, and our median in ratio to a bare spawn's in the same rounds; the idle host first.
    pub(crate) crowded: Vec<(String, f64)>,
}

impl Report {
    fn index(&self, name: &str) -> Option<usize> {
        self.contenders.iter().position(|contender| contender.name == name)
    }

    pub(crate) fn samples(&self, name: &str) -> Option<&Samples> {
        self.samples.get(self.index(name)?)
    }

    pub(crate) fn calls(&self, name: &str) -> Option<Calls> {
        self.calls.get(self.index(name)?).copied().flatten()
    }

    fn bare_p50(&self) -> f64 {
        self.samples(BARE).map_or(0.0, |samples| samples.wall(50)).max(f64::MIN_POSITIVE)
    }

    pub(crate) fn csv(&self) -> String {
        let mut csv = "contender,runs,p50_ms,p95_ms,p99_ms,to_bare,cpu_p50_ms,calls_to_exec,calls_in_all\n".to_owned();
        for ((contender, samples), calls) in self.contenders.iter().zip(&self.samples).zip(&self.calls) {
            let [p50, p95, p99] = [50, 95, 99].map(|percent| samples.wall(percent));
            let (to_bare, cpu) = (p50 / self.bare_p50(), samples.cpu());
            let calls = calls.map_or(",".to_owned(), |calls| format!("{},{}", calls.to_exec, calls.in_all));
            let (name, runs) = (contender.name, samples.count());
            // Writing to a String cannot fail.
            let _ = writeln!(csv, "{name},{runs},{p50:.3},{p95:.3},{p99:.3},{to_bare:.2},{cpu:.3},{calls}");
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
        text.push_str(
            "| | p50 ms | p95 ms | p99 ms | to bare | CPU ms | calls to exec | calls in all | |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for ((contender, samples), calls) in self.contenders.iter().zip(&self.samples).zip(&self.calls) {
            let [p50, p95, p99] = [50, 95, 99].map(|percent| samples.wall(percent));
            let calls = calls.map_or("| - | -".to_owned(), |calls| format!("| {} | {}", calls.to_exec, calls.in_all));
            let (name, note, cpu) = (contender.name, contender.note, samples.cpu());
            let to_bare = p50 / self.bare_p50();
            let _ = writeln!(
                text,
                "| {name} | {p50:.2} | {p95:.2} | {p99:.2} | {to_bare:.1} | {cpu:.2} {calls} | {note} |"
            );
        }
    }

    fn warm(&self, text: &mut String) {
        let Some(Warm { p50_us, p95_us, bare_p50_us, per_second, c_per_second }) = self.warm else { return };
        let _ = write!(
            text,
            "\n## Boxes that were prepared (`rustbox batch`)\n\n| | |\n|---|---|\n\
             | request to the payload's end, p50 | {p50_us:.0} us |\n| the same, p95 | {p95_us:.0} us |\n\
             | vfork, exec, wait in C, p50 | {bare_p50_us:.0} us |\n\
             | runs per second, a worker for each processor, every box proved clean | {per_second:.0} |\n\
             | single-use boxes per second of as many C loops, which set up no root and prove nothing | {c_per_second:.0} |\n"
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
            text.push_str("\n## Runs per second\n\n| | workers | per second |\n|---|---|---|\n");
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
            text.push_str("\n## A host that is full\n\n| with | p50, in bare spawns of the same rounds |\n|---|---|\n");
        }
        for (crowd, ratio) in &self.crowded {
            let _ = writeln!(text, "| {crowd} | {ratio:.1} |");
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

    pub(crate) fn stages_chart(&self) -> String {
        let bar = |step: &Step| Bar { name: step.name.clone(), value: step.p50_us / 1e3, upper: None, ours: true };
        bars("Where one run spends its time, p50", "ms", &self.steps.iter().map(bar).collect::<Vec<_>>())
    }
}
