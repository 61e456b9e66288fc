//! Whether what a run said is true, when something was done to it.

use rustbox_core::{ContainmentVerdict, RUN_SCHEMA, RunReport};

use crate::driver::End;
use crate::fingerprint::{Fingerprint, fingerprint_of};
use crate::lab::BoxCommand;

/// Codes with which `rustbox run` may end when a step of its own failed: a box that holds all the same, one whose
/// containment is violated or unknown, one that did not come to be, and a program that was not executed.
const OWN_CODES: [i32; 6] = [0, 121, 122, 125, 126, 127];

/// Who may have been ended by a signal of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// What is to become the payload: then that is what the run reports.
    Child,
    /// Nobody, or somebody else.
    NotTheChild,
}

/// What is wrong with a driven run of `contain_fingerprint`, one sentence each: it hung or crashed, its payload
/// saw a weaker box than the baseline, there is half a result, or the result contradicts what happened.
#[must_use]
pub fn untruths(command: &BoxCommand<'_>, end: End, baseline: &Fingerprint, killed: Killed) -> Vec<String> {
    let (said, errors) = command.collect();
    let mut wrong = Vec::new();
    let seen = fingerprint_of(&said);
    for difference in seen.iter().flat_map(|seen| seen.against(baseline)) {
        wrong.push(format!("the payload ran in another box than the baseline's: {difference}"));
    }
    match end {
        End::Hung => wrong.push("it hung".to_owned()),
        End::Exited(137) if killed == Killed::Child => {}
        End::Exited(code) if !OWN_CODES.contains(&code) => wrong.push(format!("it ended with {code}")),
        End::Exited(_) => {}
        End::Signaled(9) => {}
        End::Signaled(signal) => wrong.push(format!("it ended by signal {signal}")),
    }
    let complete = seen.is_some_and(|seen| seen.is_complete());
    let result = command.result_text();
    match result.as_deref() {
        Some(text) if text.contains(RUN_SCHEMA) => match serde_json::from_str::<RunReport>(text) {
            Ok(report) => contradictions(&report, end, complete, &mut wrong),
            Err(error) => wrong.push(format!("its report does not parse: {error}")),
        },
        Some(text) => {
            let refusal = serde_json::from_str::<serde_json::Value>(text);
            wrong.extend(refusal.err().map(|error| format!("its refusal does not parse: {error}")));
        }
        None => {}
    }
    if end == End::Exited(0) && !result.is_some_and(|text| text.contains(RUN_SCHEMA)) {
        wrong.push("success without a report".to_owned());
    }
    if !wrong.is_empty() {
        wrong.push(format!("ended {end:?}; stderr: {errors}; last output: {:?}", said.lines().last()));
    }
    wrong
}

fn contradictions(report: &RunReport, end: End, complete: bool, wrong: &mut Vec<String>) {
    if let End::Exited(code) = end
        && code != i32::from(report.exit_code)
    {
        wrong.push(format!("the report says exit code {}, and it was {code}", report.exit_code));
    }
    if report.status.as_str() == "OK" && !complete {
        wrong.push("the report says OK, and the payload did not come to its end".to_owned());
    }
    let contained = report.containment.verdict == ContainmentVerdict::Contained;
    if report.status.as_str() == "OK" && !contained {
        wrong.push(format!("the report says OK, and containment is {:?}", report.containment.verdict));
    }
    if contained && report.containment.survivors.is_some_and(|survivors| survivors > 0) {
        wrong.push("the report says contained, and counts survivors".to_owned());
    }
}
