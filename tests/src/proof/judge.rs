//! Whether what was seen of a box is the evidence that the table asks for. Pure: the same sight, the same judgement.

use std::time::Duration;

use rustbox_core::{ContainmentVerdict, RunReport};

use super::table::{Control, Ends, Expect, Fact, Sees};
use crate::pen::PenReport;

/// What was seen of one run in a box.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What rustbox exited with; none for a signal.
    pub code: Option<i32>,
    /// What the payload printed.
    pub stdout: String,
    /// What rustbox and the payload printed on standard error.
    pub stderr: String,
    /// The report.
    pub report: Option<RunReport>,
    /// What the kernel showed of the box when rustbox had returned.
    pub left: Vec<String>,
    /// From start to end.
    pub elapsed: Duration,
}

impl Seen {
    /// Status, cause, exit code.
    #[must_use]
    pub fn verdict(&self) -> String {
        self.report.as_ref().map_or_else(
            || format!("no report, exit {:?}", self.code),
            |r| format!("{} {} {}", r.status.as_str(), r.cause.as_str(), r.exit_code),
        )
    }

    /// Lines of the payload's that tell an attempt, without its name.
    pub fn attempts(&self) -> impl Iterator<Item = &str> {
        self.stdout.lines().filter_map(|line| line.split_once(": tried: ").map(|(_, tried)| tried))
    }

    fn fact(&self, fact: Fact) -> Option<u64> {
        if fact == Fact::StdoutBytes {
            return Some(self.stdout.len() as u64);
        }
        let report = self.report.as_ref()?;
        let proof = &report.containment;
        match fact {
            Fact::Killed => proof.processes_at_kill_count,
            Fact::LeftSession => proof.left_session,
            Fact::Reaped => proof.reaped_descendants,
            Fact::Zombies => proof.zombies,
            Fact::PidsRefusals => report.pids_refusals,
            Fact::MemoryMib => report.memory_peak_bytes.map(|bytes| bytes >> 20),
            Fact::CpuMs => report.cpu_total_ns.map(|ns| ns / 1_000_000),
            Fact::WallMs => report.wall_ns.map(|ns| ns / 1_000_000),
            Fact::EmptyMs => proof.populated_zero_ns.map(|ns| ns / 1_000_000),
            Fact::StdoutBytes => None,
        }
    }

    /// The letters and names of the processes at the kill, and every number that this table knows, for the report.
    #[must_use]
    pub fn facts(&self) -> Vec<String> {
        const FACTS: [Fact; 9] = [
            Fact::Killed,
            Fact::LeftSession,
            Fact::Reaped,
            Fact::Zombies,
            Fact::PidsRefusals,
            Fact::MemoryMib,
            Fact::CpuMs,
            Fact::WallMs,
            Fact::EmptyMs,
        ];
        let number = |fact: Fact| self.fact(fact).map(|n| format!("{}: {n}", fact.title()));
        FACTS.into_iter().filter_map(number).collect()
    }
}

/// Why this is not the evidence; empty when it is.
#[must_use]
pub fn judge_box(payload: &str, expect: &Expect, seen: &Seen) -> Vec<String> {
    let mut found: Vec<String> = seen.left.iter().map(|left| format!("left over: {left}")).collect();
    let Some(report) = &seen.report else {
        found.push(format!("no report, exit {:?}: {}", seen.code, last_line(&seen.stderr)));
        return found;
    };
    let proof = &report.containment;
    if (proof.verdict, proof.survivors, proof.cgroup_removed) != (ContainmentVerdict::Contained, Some(0), Some(true)) {
        found.push(format!(
            "containment {:?}, survivors {:?}, cgroup removed {:?}",
            proof.verdict, proof.survivors, proof.cgroup_removed
        ));
    }
    if seen.verdict() != expect.verdict() || seen.code != Some(i32::from(report.exit_code)) {
        found.push(format!("verdict {} (exit {:?}), not {}", seen.verdict(), seen.code, expect.verdict()));
    }
    match expect.ends {
        Ends::Contained => said(payload, "contained", seen, &mut found),
        Ends::Armed => {
            if !seen.stdout.contains(": armed: ") {
                found.push(format!("never armed: {}", last_line(&seen.stdout)));
            }
            if seen.fact(Fact::Killed).is_none_or(|n| n == 0) {
                found.push("nothing was there to be killed, so nothing is proved".to_owned());
            }
        }
        Ends::Verdict => {}
    }
    for line in &expect.denied {
        said(payload, &format!("tried: {line}"), seen, &mut found);
    }
    for line in &expect.said {
        if !seen.stdout.contains(line.as_str()) {
            found.push(format!("the payload did not say `{line}`"));
        }
    }
    judge_numbers(expect, seen, &mut found);
    found
}

fn judge_numbers(expect: &Expect, seen: &Seen, found: &mut Vec<String>) {
    for (fact, least) in &expect.at_least {
        if seen.fact(*fact).is_none_or(|n| n < *least) {
            found.push(format!("{}: {:?}, not {least} or more", fact.title(), seen.fact(*fact)));
        }
    }
    for (fact, most) in &expect.at_most {
        if seen.fact(*fact).is_none_or(|n| n > *most) {
            found.push(format!("{}: {:?}, not {most} or less", fact.title(), seen.fact(*fact)));
        }
    }
    let killed = seen.report.iter().flat_map(|r| &r.containment.processes_at_kill);
    let (mut states, mut names) = (String::new(), Vec::new());
    for process in killed {
        states.extend(process.state);
        names.extend(process.comm.clone());
    }
    let count = |text: &str, letter: char| text.matches(letter).count();
    if expect.states.chars().any(|letter| count(&states, letter) < count(&expect.states, letter)) {
        found.push(format!("states at the kill were {states:?}, and {:?} is not among them", expect.states));
    }
    if let Some(comm) = expect.comm.as_ref().filter(|comm| !names.contains(comm)) {
        found.push(format!("no process called {comm:?} was killed, but {names:?}"));
    }
}

/// A whole line of the payload's: a substring of a longer one would not do.
fn said(payload: &str, line: &str, seen: &Seen, found: &mut Vec<String>) {
    let whole = format!("{payload}: {line}");
    // A terminal ends its lines otherwise.
    if !seen.stdout.lines().any(|l| l.trim_end_matches('\r') == whole) {
        let call = line.split_once(" = ").map_or(line, |(call, _)| call);
        let instead = seen.stdout.lines().find(|l| l.contains(call)).unwrap_or_else(|| last_line(&seen.stdout));
        found.push(format!("the payload did not say `{line}`, but `{instead}`"));
    }
}

/// What was seen of a control.
#[derive(Clone, Debug)]
pub struct SeenControl {
    /// What the main process ended with: a code, or a negative signal; none when it outlasted its time.
    pub main: Option<i32>,
    /// Who was alive then.
    pub survivors: usize,
    /// What the payload printed.
    pub stdout: String,
}

impl From<PenReport> for SeenControl {
    fn from(report: PenReport) -> Self {
        Self { main: report.main, survivors: report.survivors.len(), stdout: report.stdout }
    }
}

/// Why the attack did not succeed where it should; empty when it did.
#[must_use]
pub fn judge_control(control: &Control, seen: &SeenControl) -> Vec<String> {
    let mut found = Vec::new();
    let ended = |code: i32| seen.main == Some(code);
    let last = last_line(&seen.stdout);
    match control.sees {
        Sees::Outlived if !ended(0) || !seen.stdout.contains(": armed: ") || seen.survivors == 0 => {
            found.push(format!("ended with {:?}, {} outlived it: {last}", seen.main, seen.survivors));
        }
        Sees::Escaped if !ended(90) => found.push(format!("ended with {:?}: {last}", seen.main)),
        Sees::Alive if seen.main.is_some() => found.push(format!("ended with {:?}: {last}", seen.main)),
        Sees::Code(code) if !ended(code) => found.push(format!("ended with {:?}, not {code}: {last}", seen.main)),
        Sees::Outlived | Sees::Escaped | Sees::Alive | Sees::Code(_) => {}
    }
    let silent = control.said.iter().filter(|line| !seen.stdout.contains(line.as_str()));
    found.extend(silent.map(|line| format!("the payload did not say `{line}`")));
    found
}

pub(super) fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}
