//! What was proved, what not and why, for the terminal; and the table of all attacks for the documentation.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::report::{HostRun, Outcome, Proof};
use super::run::tell_part;
use super::table::payload_table;

/// The end of a proof, as text.
#[must_use]
pub fn summary(proof: &Proof) -> String {
    let mut text = String::new();
    for run in &proof.runs {
        summarize_run(run, &mut text);
    }
    if proof.parity.compared > 0 {
        let differences = proof.parity.differences.len();
        line(
            &mut text,
            &format!("verdict parity: {} attacks on more than one shape, {differences} differ", proof.parity.compared),
        );
    }
    if proof.proved {
        line(&mut text, "PROVED: all that was planned was done, and held");
    } else {
        line(&mut text, &format!("NOT PROVED, for {} reasons:", proof.objections.len()));
        proof.objections.iter().for_each(|why| line(&mut text, &format!("  - {why}")));
    }
    text
}

fn summarize_run(run: &HostRun, text: &mut String) {
    let (held, failed) = (run.count(Outcome::Held), run.count(Outcome::Failed));
    line(
        text,
        &format!("== {} on {}, Linux {}, {} CPUs, {:.0} s", run.target, run.shape, run.kernel, run.cpus, run.seconds),
    );
    line(
        text,
        &format!(
            "attacks: {} made with their controls, {held} held, {failed} failed, {} not proved, {} skipped; {} attempts told",
            run.attacks.len() - run.count(Outcome::Skipped),
            run.count(Outcome::NotProved),
            run.count(Outcome::Skipped),
            run.attempts()
        ),
    );
    let mut families: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    for attack in &run.attacks {
        let (held, all) = families.entry(attack.family).or_default();
        *held += usize::from(attack.outcome == Outcome::Held);
        *all += 1;
    }
    for (family, (held, all)) in families {
        line(text, &format!("  {held:>3} of {all:>3} held  {}", family.title()));
    }
    for part in &run.parts {
        line(text, &format!("  {}: {}: {}", part.name, part.claim, tell_part(part)));
        for skipped in &part.skipped {
            line(text, &format!("    not done: {}: {}", skipped.what, skipped.why));
        }
    }
    for attack in run.attacks.iter().filter(|attack| attack.outcome == Outcome::Skipped) {
        line(text, &format!("  not done: {}: {}", attack.name, attack.seen.join(" ")));
    }
    let looked: Vec<_> = run.host.compared.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    line(
        text,
        &format!("  host before and after: {} differences among {}", run.host.differences.len(), looked.join(", ")),
    );
}

fn line(text: &mut String, line: &str) {
    let _infallible = writeln!(text, "{line}");
}

/// The table of all attacks, made of `payloads.toml`.
#[must_use]
pub fn markdown_table() -> String {
    let mut text = String::from(
        "| attack | barrier | evidence in a box | control | proves | regression for |\n|---|---|---|---|---|---|\n",
    );
    let cell = |text: &str| text.replace('|', "\\|").replace('\t', " ");
    let mut family = None;
    for payload in payload_table() {
        if family != Some(payload.family) {
            family = Some(payload.family);
            line(&mut text, &format!("| **{}** | | | | | |", payload.family.title()));
        }
        for case in &payload.case {
            line(
                &mut text,
                &format!(
                    "| `{}` | {} | {} | {} | {} | {} |",
                    payload.case_name(case),
                    cell(&payload.barrier),
                    cell(&case.expect.phrases().join("; ")),
                    cell(&case.control.phrase()),
                    payload.requirements.join(", "),
                    cell(&payload.history.join(", ")),
                ),
            );
        }
    }
    text
}
