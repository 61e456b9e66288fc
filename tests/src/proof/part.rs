//! One part of the proof that is not an attack: a sweep, a race, a model. A claim, how often it was tried, what did not hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Identifies the format.
pub const PART_SCHEMA: &str = "rustbox.proof.part/v1";

/// Names the directory of the proof that is under way. Without it a test is only a test, and writes no part.
pub const PROOF_DIR: &str = "RUSTBOX_PROOF_DIR";

/// Failures that are told in words; their number is always exact.
const TOLD_FAILURES: usize = 20;

/// What one part of the proof came to; `target/proof/parts/NAME.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// `rustbox.proof.part/v1`.
    pub schema: String,
    /// Its name: lower case, digits and `-`. The file is called like this.
    pub name: String,
    /// What holds, as one sentence without a number.
    pub claim: String,
    /// Requirements that it proves.
    pub requirements: Vec<String>,
    /// Trials that were really made.
    pub tried: u64,
    /// Trials in which the claim held.
    pub held: u64,
    /// Trials in which it did not.
    pub failed: u64,
    /// Trials that were planned and whose point was never reached (a system call boundary that this run did not have):
    /// not covered, and never counted as held.
    pub not_reached: u64,
    /// What this host cannot show. The proof fails for one that `tests/skips.txt` does not list.
    pub skipped: Vec<Skipped>,
    /// The first failures, in words.
    pub failures: Vec<String>,
    /// Bugs that were put in on purpose, to show that this part goes red.
    pub planted: Vec<Planted>,
    /// Numbers beyond the counts, by name: states of a model, boundaries of a trace, a seed.
    pub figures: BTreeMap<String, String>,
    /// A file with the details, relative to the directory of the proof.
    pub evidence: Option<PathBuf>,
    /// How long it took.
    pub seconds: f64,
}

/// Something that was planned and cannot be done here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// What; the name in `tests/skips.txt`.
    pub what: String,
    /// Why.
    pub why: String,
}

/// A bug that was put in on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Planted {
    /// Which one.
    pub bug: String,
    /// Whether this part noticed. It must, else its zero proves nothing.
    pub turned_red: bool,
    /// What it saw.
    pub detail: String,
}

impl Part {
    /// A part of which nothing has been tried yet.
    #[must_use]
    pub fn new(name: &str, claim: &str, requirements: &[&str]) -> Self {
        Self {
            schema: PART_SCHEMA.to_owned(),
            name: name.to_owned(),
            claim: claim.to_owned(),
            requirements: requirements.iter().map(|id| (*id).to_owned()).collect(),
            tried: 0,
            held: 0,
            failed: 0,
            not_reached: 0,
            skipped: Vec::new(),
            failures: Vec::new(),
            planted: Vec::new(),
            figures: BTreeMap::new(),
            evidence: None,
            seconds: 0.0,
        }
    }

    /// Counts one trial.
    pub fn count(&mut self, outcome: Result<(), String>) {
        self.tried += 1;
        match outcome {
            Ok(()) => self.held += 1,
            Err(why) => {
                self.failed += 1;
                if self.failures.len() < TOLD_FAILURES {
                    self.failures.push(why);
                }
            }
        }
    }

    /// Why this part proves nothing, or does not hold; empty when it does.
    #[must_use]
    pub fn objections(&self) -> Vec<String> {
        let mut found = self.failures.clone();
        if self.failed > found.len() as u64 {
            found.push(format!("{} failures in all", self.failed));
        }
        if self.tried == 0 && self.skipped.is_empty() {
            found.push("nothing was tried".to_owned());
        }
        if self.held.checked_add(self.failed) != Some(self.tried) {
            found.push(format!("{} held and {} failed are not the {} tried", self.held, self.failed, self.tried));
        }
        let asleep = self.planted.iter().filter(|planted| !planted.turned_red);
        found.extend(
            asleep.map(|planted| format!("the planted bug {} was not noticed: {}", planted.bug, planted.detail)),
        );
        found
    }

    /// The 95 % upper bound on the rate of failures, when none was seen: three in so many trials.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a bound has two digits")]
    pub fn bound(&self) -> Option<f64> {
        (self.failed == 0 && self.tried > 0).then(|| 3.0 / self.tried as f64)
    }

    /// Writes the part where the proof that started this program looks for it; does nothing when none did.
    ///
    /// # Panics
    /// When it cannot be written, or its name is no file name.
    pub fn publish(&self) {
        if let Some(directory) = std::env::var_os(PROOF_DIR) {
            self.write(Path::new(&directory));
        }
    }

    /// Writes `parts/NAME.json` below this directory.
    ///
    /// # Panics
    /// When it cannot be written, or its name is no file name.
    pub fn write(&self, directory: &Path) {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(!self.name.is_empty() && self.name.chars().all(plain), "a part is called {:?}", self.name);
        let parts = directory.join("parts");
        std::fs::create_dir_all(&parts).unwrap_or_else(|e| panic!("make {}: {e}", parts.display()));
        let text = serde_json::to_string_pretty(self).expect("a part is JSON");
        // Another program may be reading: a half-written part must not look like a whole one.
        let (path, fresh) = (parts.join(format!("{}.json", self.name)), parts.join(format!(".{}.new", self.name)));
        std::fs::write(&fresh, text).unwrap_or_else(|e| panic!("write {}: {e}", fresh.display()));
        std::fs::rename(&fresh, &path).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_tried_nothing_or_missed_a_planted_bug_does_not_hold() {
        let mut part = Part::new("race", "no process is outside", &["S08"]);
        assert_eq!(part.objections(), ["nothing was tried"]);
        part.count(Ok(()));
        assert_eq!(part.objections(), [""; 0]);
        part.planted.push(Planted { bug: "attach-late".into(), turned_red: false, detail: "0 of 50".into() });
        assert_eq!(part.objections(), ["the planted bug attach-late was not noticed: 0 of 50"]);
    }

    #[test]
    fn a_bound_is_given_for_a_zero_only() {
        let mut part = Part::new("race", "no process is outside", &["S08"]);
        assert_eq!(part.bound(), None);
        (0..1000).for_each(|_| part.count(Ok(())));
        assert_eq!(part.bound(), Some(0.003));
        part.count(Err("one was".into()));
        assert_eq!((part.bound(), part.objections()), (None, vec!["one was".to_owned()]));
    }
}
