//! The battery against another sandbox: the same payloads, judged by what can be seen from outside.
//!
//! The sandbox runs in a pen, so that whatever gets away is still held, and is counted as what it is: a survivor. A payload
//! knows that it may attack there by a resource limit that nobody else sets (`in_target` in `attack.h`), since it is kept
//! through exec, namespaces and a change of uid, and neither a name nor an environment has to be.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use serde::Deserialize;

use super::attack::{MAX_LINES, cut};
use super::fixture::Offered;
use super::judge::{SeenControl, last_line};
use super::report::{Attack, Outcome};
use super::table::{Case, Ends, Family, Fixture, Payload, Place};
use crate::lab::Lab;
use crate::payload::payload;
use crate::pen::Pen;

/// How another sandbox is started; `tests/targets/NAME.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The Debian package that has it, for the message when it is not there.
    pub package: String,
    /// What has to be on this machine, when it is not the first word of the command.
    #[serde(default)]
    pub program: Option<String>,
    /// Whether it is started by root; else by an ordinary user.
    #[serde(default)]
    pub root: bool,
    /// The command. `{shelf}` is a directory that holds the payload, `{payload}` its name, `{args}` its arguments (as a
    /// word of its own), `{seconds}` the time limit. Empty for no sandbox at all.
    pub command: Vec<String>,
    /// Words for a time limit, put in place of the word `{limit}`; empty for a sandbox that has none.
    #[serde(default)]
    pub limit: Vec<String>,
    /// What it is asked to do and what not, in one sentence.
    pub profile: String,
}

/// How long a run may take before it counts as a hang, in milliseconds: above every time limit of the table.
const DEADLINE_MS: &str = "12000";

/// The time limit that a sandbox is given where the attack never ends by itself, in seconds.
const SECONDS: &str = "2";

/// The uid of an ordinary user whom nobody else uses: `kill(-1)` of a payload without a PID namespace reaches only itself.
const UID: &str = "79997";

impl Target {
    /// Reads an adapter.
    ///
    /// # Errors
    /// When it does not parse, or the program is not on this machine.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("read {}: {e}", path.display()))?;
        let target: Self = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let Some(program) = target.program.as_ref().or(target.command.first()) else { return Ok(target) };
        if Path::new(program).is_file() {
            Ok(target)
        } else {
            Err(format!("{program} is not on this machine; Debian has it in the package {}", target.package))
        }
    }

    /// Makes one attack.
    #[must_use]
    pub fn make(&self, payload: &Payload, case: &Case) -> Attack {
        let begun = Instant::now();
        let mut attack = Attack::planned(payload, case);
        attack.control = "the run against rustbox".to_owned();
        if let Some(why) = self.inapplicable(payload, case) {
            attack.outcome = Outcome::Skipped;
            attack.seen = vec![why];
            return attack;
        }
        let lab = Lab::open(&format!("target{}", super::attack::next_number()));
        let offered = Offered::make(&case.with, &payload.name, &lab, "no-box");
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run(payload, case, &offered)));
        match run {
            Ok(seen) => {
                attack.objections = judge_target(case, &seen);
                let inconclusive = seen.main == Some(91) || seen.stdout.contains(": inconclusive: ");
                // Without a box the payload touches what it is meant to touch.
                if !self.command.is_empty() {
                    attack.objections.extend(offered.objections(&seen.stdout));
                }
                attack.outcome = match (attack.objections.is_empty(), inconclusive) {
                    (true, _) => Outcome::Held,
                    (false, true) => Outcome::NotProved,
                    (false, false) => Outcome::Failed,
                };
                attack.verdict = format!("exit {:?}, {} left", seen.main, seen.survivors);
                attack.output = seen.stdout.lines().take(MAX_LINES).map(cut).collect();
                let tried = seen.stdout.lines().filter_map(|l| l.split_once(": tried: "));
                attack.tried = tried.map(|(_, tried)| cut(tried)).collect();
            }
            Err(panic) => attack.objections.push(super::attack::harness_failed(panic.as_ref())),
        }
        attack.seconds = begun.elapsed().as_secs_f64();
        attack
    }

    /// Why an attack cannot be made on a sandbox that is only started and watched.
    fn inapplicable(&self, payload: &Payload, case: &Case) -> Option<String> {
        let own = [
            Fixture::Beside,
            Fixture::Terminal,
            Fixture::CarelessDescriptors,
            Fixture::Secrets,
            Fixture::SetuidCopy,
            Fixture::CapsCopy,
        ];
        let needs: BTreeSet<String> = case.with.iter().filter(|f| own.contains(f)).map(|f| format!("{f:?}")).collect();
        if self.command.is_empty() && payload.family != Family::Verdict && !case.with.contains(&Fixture::Beside) {
            return None;
        }
        if payload.family == Family::Verdict {
            return Some("verdicts are rustbox's own".to_owned());
        }
        if case.name == "unfiltered" {
            return Some("a second run with rustbox's filter off".to_owned());
        }
        (!needs.is_empty()).then(|| format!("needs flags of rustbox's own: {needs:?}"))
    }

    fn run(&self, payload: &Payload, case: &Case, offered: &Offered) -> SeenControl {
        if self.command.is_empty() {
            return self.run_bare(payload, case, offered);
        }
        let limited = case.flags.iter().any(|flag| flag == "--wall-time" || flag == "--time");
        let mut words = Vec::new();
        for word in &self.command {
            match word.as_str() {
                "{limit}" if limited => words.extend(self.limit.iter().cloned()),
                "{limit}" => {}
                "{args}" => words.extend(offered.fill(&case.args)),
                word => words.push(word.to_owned()),
            }
        }
        let words: Vec<String> = words
            .into_iter()
            .map(|word| word.replace("{payload}", &payload.name).replace("{seconds}", SECONDS))
            .collect();
        let pen = Pen::command(words)
            .flag("--mark")
            .flag("--file")
            .flag(&crate::payload::payload(&payload.name).display().to_string());
        let pen =
            pen.flag("--deadline-ms").flag(DEADLINE_MS).flag("--pids").flag("2300").flag("--memory").flag("1073741824");
        let pen = if self.root { pen.as_root() } else { pen.flag("--uid").flag(UID) };
        pen.run().into()
    }

    /// No sandbox: what the control is, since there the attack must succeed.
    fn run_bare(&self, one: &Payload, case: &Case, offered: &Offered) -> SeenControl {
        let args = offered.fill(case.control.args.as_ref().unwrap_or(&case.args));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let _built = payload(&one.name);
        let mut pen = Pen::of(&one.name, &args);
        if case.control.place != Place::Box {
            pen = offered.fill(&case.control.flags).iter().fold(pen, |pen, flag| pen.flag(flag));
        }
        if case.control.place == Place::RootPen { pen.as_root().run().into() } else { pen.run().into() }
    }
}

/// Why a sandbox did not hold, by what can be seen of it; empty when it did.
fn judge_target(case: &Case, seen: &SeenControl) -> Vec<String> {
    let mut found = Vec::new();
    let last = cut(last_line(&seen.stdout));
    let Some(code) = seen.main else {
        return vec![format!("it did not end by itself: {last}")];
    };
    if seen.survivors > 0 {
        found.push(format!("{} processes outlive it", seen.survivors));
    }
    match case.expect.ends {
        Ends::Contained if code != 0 || !seen.stdout.contains(": contained") => {
            found.push(format!("ended with {code}: {last}"));
        }
        Ends::Armed if !seen.stdout.contains(": armed: ") => {
            found.push(format!("never armed, ended with {code}: {last}"))
        }
        Ends::Verdict if code == 90 || seen.stdout.contains(": escaped: ") => {
            found.push(format!("no limit held: {last}"))
        }
        Ends::Verdict if code == 91 => found.push(format!("could not be tried: {last}")),
        Ends::Verdict if case.control.sees == super::table::Sees::Code(code) && case.expect.verdict.is_some() => {
            found.push(format!("no limit held: ended with {code}"));
        }
        Ends::Contained | Ends::Armed | Ends::Verdict => {}
    }
    found
}
