//! The report of a proof: plain data, as it is written to `target/proof/report.json`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attack::{MAX_LINES, cut};
use super::judge::Seen;
use super::part::Part;
use super::table::{Case, Family, Payload};

/// Identifies the format of the whole report.
pub const PROOF_SCHEMA: &str = "rustbox.proof/v1";

/// What became of one attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The barrier held, by the cause that the table names, and the control shows that the attack works without it.
    Held,
    /// It did not hold, or not by that cause.
    Failed,
    /// It held, but the attack did not succeed in its control either: that proves nothing.
    NotProved,
    /// Not made here, for a reason that `tests/skips.txt` lists.
    Skipped,
}

impl Outcome {
    /// The word of a report's line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Failed => "FAILED",
            Self::NotProved => "NOT PROVED",
            Self::Skipped => "skipped",
        }
    }
}

/// One attack on one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// `payload` or `payload:case`.
    pub name: String,
    /// What kind of attack.
    pub family: Family,
    /// What it has to overcome.
    pub barrier: String,
    /// Requirements that it proves.
    pub requirements: Vec<String>,
    /// Flaws of other sandboxes that it is the regression test for.
    pub history: Vec<String>,
    /// The arguments of `rustbox`, with `{words}` that the host gives.
    pub command: String,
    /// The evidence that was asked for.
    pub expected: Vec<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Status, cause and exit code of the box.
    pub verdict: String,
    /// Attempts that the payload told, each with its errno.
    pub tried: Vec<String>,
    /// What was measured.
    pub seen: Vec<String>,
    /// The payload's lines, and the last line of standard error.
    pub output: Vec<String>,
    /// Why it did not hold.
    pub objections: Vec<String>,
    /// Where the attack must succeed.
    pub control: String,
    /// What was seen there.
    pub control_seen: Vec<String>,
    /// Why it did not succeed there.
    pub control_objections: Vec<String>,
    /// How long both took.
    pub seconds: f64,
}

impl Attack {
    /// One that has not been made yet.
    #[must_use]
    pub fn planned(payload: &Payload, case: &Case) -> Self {
        Self {
            name: payload.case_name(case),
            family: payload.family,
            barrier: payload.barrier.clone(),
            requirements: payload.requirements.clone(),
            history: payload.history.clone(),
            command: case.command(&payload.name),
            expected: case.expect.phrases(),
            outcome: Outcome::NotProved,
            verdict: String::new(),
            tried: Vec::new(),
            seen: Vec::new(),
            output: Vec::new(),
            objections: Vec::new(),
            control: case.control.phrase(),
            control_seen: Vec::new(),
            control_objections: Vec::new(),
            seconds: 0.0,
        }
    }

    pub(super) fn keep(&mut self, seen: &Seen) {
        self.output = seen.stdout.lines().take(MAX_LINES).map(cut).collect();
        self.output.extend(seen.stderr.lines().last().map(|line| format!("stderr: {}", cut(line))));
    }
}

/// What the host showed before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostComparison {
    /// What was compared, and how many of each there were.
    pub compared: BTreeMap<String, usize>,
    /// What is new, gone or changed.
    pub differences: Vec<String>,
}

/// Everything that was done on one host, in one shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostRun {
    /// The cgroup interface and the place: `hybrid`, `v1`, `v2 6.1 guest`.
    pub shape: String,
    /// What was attacked: `rustbox`, or another sandbox.
    pub target: String,
    /// `uname -r`.
    pub kernel: String,
    /// CPUs of the machine.
    pub cpus: usize,
    /// SHA-256 of the program under test.
    pub binary_sha256: String,
    /// When it began, RFC 3339, UTC.
    pub started_at: String,
    /// How long it took.
    pub seconds: f64,
    /// Attacks and parts that were planned.
    pub planned: usize,
    /// The attacks.
    pub attacks: Vec<Attack>,
    /// The sweeps, races and models.
    pub parts: Vec<Part>,
    /// Parts that were planned and did not come to a result, and why.
    pub missing: Vec<String>,
    /// The host before and after.
    pub host: HostComparison,
}

impl HostRun {
    /// How many attacks came to this.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.attacks.iter().filter(|attack| attack.outcome == outcome).count()
    }

    /// Single attempts of payloads, each with its errno.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.attacks.iter().map(|attack| attack.tried.len()).sum()
    }

    /// Everything for which the proof must not be believed; empty when all that was planned was done and held.
    #[must_use]
    pub fn objections(&self) -> Vec<String> {
        let mut found = Vec::new();
        for attack in &self.attacks {
            let why = attack.objections.iter().chain(&attack.control_objections).map(String::as_str);
            let why = why.collect::<Vec<_>>().join("; ");
            match attack.outcome {
                Outcome::Failed => found.push(format!("{}: {why}", attack.name)),
                Outcome::NotProved => found.push(format!("{}: not proved, its control: {why}", attack.name)),
                Outcome::Held | Outcome::Skipped => {}
            }
        }
        for part in &self.parts {
            found.extend(part.objections().into_iter().map(|why| format!("{}: {why}", part.name)));
        }
        found.extend(self.missing.iter().cloned());
        found.extend(self.host.differences.iter().map(|difference| format!("the host: {difference}")));
        let done = self.attacks.len() + self.parts.len();
        if done < self.planned && self.missing.is_empty() {
            found.push(format!("{done} of {} were done", self.planned));
        }
        found.into_iter().map(|why| format!("{} on {}: {why}", self.target, self.shape)).collect()
    }
}

/// Whether one attack had the same verdict on every shape of host (B13).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parity {
    /// Attacks that were made on more than one shape.
    pub compared: usize,
    /// Those whose verdicts differ.
    pub differences: Vec<String>,
}

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// `rustbox.proof/v1`.
    pub schema: String,
    /// Version of the program.
    pub version: String,
    /// Commit that it was built from; `-dirty` when the tree had changes.
    pub commit: String,
    /// `quick` or `full`.
    pub mode: String,
    /// One for each shape of host and each target.
    pub runs: Vec<HostRun>,
    /// The same verdict everywhere.
    pub parity: Parity,
    /// Everything for which the proof must not be believed.
    pub objections: Vec<String>,
    /// Whether all that was planned was done, and held.
    pub proved: bool,
}

impl Proof {
    /// Puts runs together, and draws the conclusion.
    #[must_use]
    pub fn of(runs: Vec<HostRun>, commit: &str, mode: &str) -> Self {
        let parity = parity(&runs);
        let mut objections: Vec<String> = runs.iter().flat_map(HostRun::objections).collect();
        objections.extend(parity.differences.iter().map(|d| format!("parity: {d}")));
        if runs.is_empty() {
            objections.push("nothing was run".to_owned());
        }
        Self {
            schema: PROOF_SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit.to_owned(),
            mode: mode.to_owned(),
            proved: objections.is_empty(),
            runs,
            parity,
            objections,
        }
    }
}

/// Compares verdicts of the same attack on the same target across shapes; what was skipped somewhere is not compared.
fn parity(runs: &[HostRun]) -> Parity {
    let mut seen: BTreeMap<(&str, &str), Vec<(&str, &str)>> = BTreeMap::new();
    for run in runs {
        for attack in run.attacks.iter().filter(|attack| attack.outcome != Outcome::Skipped) {
            let verdicts = seen.entry((&run.target, &attack.name)).or_default();
            verdicts.push((&run.shape, &attack.verdict));
        }
    }
    seen.retain(|_, verdicts| verdicts.len() > 1);
    let mut parity = Parity { compared: seen.len(), differences: Vec::new() };
    for ((target, attack), verdicts) in seen {
        if verdicts.iter().any(|(_, verdict)| *verdict != verdicts[0].1) {
            let told: Vec<_> = verdicts.iter().map(|(shape, verdict)| format!("{shape}: {verdict}")).collect();
            parity.differences.push(format!("{target}, {attack}: {}", told.join(", ")));
        }
    }
    parity
}

/// The published JSON Schema of the report.
#[must_use]
pub fn proof_schema() -> String {
    let schema = schemars::schema_for!(Proof);
    serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n"
}
