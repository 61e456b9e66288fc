//! The result as an in-toto statement: about which program, tested how, with which result. Not signed: whoever publishes it signs it.

use serde_json::{Value, json};

use super::oracle::hex;
use super::report::{Outcome, Proof};

/// The in-toto attestation framework's statement with its test-result predicate, about the binaries that were tested.
#[must_use]
pub fn statement(proof: &Proof, report: &str) -> Value {
    let mut binaries: Vec<&str> =
        proof.runs.iter().map(|run| run.binary_sha256.as_str()).filter(|b| !b.is_empty()).collect();
    binaries.sort_unstable();
    binaries.dedup();
    let subjects: Vec<Value> =
        binaries.iter().map(|sha256| json!({"name": "rustbox", "digest": {"sha256": sha256}})).collect();
    let names = |wanted: Outcome| -> Vec<String> {
        let of = |run: &super::report::HostRun| {
            let chosen = run.attacks.iter().filter(move |attack| attack.outcome == wanted);
            chosen.map(|attack| format!("{}/{}/{}", run.target, run.shape, attack.name)).collect::<Vec<_>>()
        };
        proof.runs.iter().flat_map(of).collect()
    };
    let shapes: Vec<Value> = proof
        .runs
        .iter()
        .map(|run| json!({"target": run.target, "shape": run.shape, "kernel": run.kernel, "cpus": run.cpus, "started_at": run.started_at}))
        .collect();
    let git = proof.commit.trim_end_matches("-dirty");
    let warned = [names(Outcome::NotProved), names(Outcome::Skipped)].concat();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {
            "result": if proof.proved { "PASSED" } else { "FAILED" },
            "configuration": [
                {"name": "source", "digest": {"gitCommit": git}, "annotations": {"dirty": proof.commit.ends_with("-dirty")}},
                {"name": "report.json", "digest": {"sha256": hex(report.as_bytes())}},
                {"name": "hosts", "annotations": {"mode": proof.mode, "version": proof.version, "hosts": shapes}},
            ],
            "passedTests": names(Outcome::Held),
            "warnedTests": warned,
            "failedTests": names(Outcome::Failed),
        }
    })
}
