//! The report for whoever reads JUnit: one suite a host, one case an attack or a part.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::report::{Outcome, Proof};

/// The text of `junit.xml`.
///
/// # Panics
/// Never: nothing that is written can fail to be serialized.
#[must_use]
pub fn junit(proof: &Proof) -> String {
    let mut report = Report::new("rustbox containment proof");
    for run in &proof.runs {
        let mut suite = TestSuite::new(format!("{} on {}", run.target, run.shape));
        suite.set_time(Duration::from_secs_f64(run.seconds));
        suite.add_property(("kernel", run.kernel.as_str())).add_property(("commit", proof.commit.as_str()));
        for attack in &run.attacks {
            let status = match attack.outcome {
                Outcome::Held => TestCaseStatus::success(),
                Outcome::Skipped => TestCaseStatus::skipped(),
                Outcome::Failed => failure(&attack.objections),
                Outcome::NotProved => failure(&attack.control_objections),
            };
            let mut case = TestCase::new(attack.name.as_str(), status);
            case.set_classname(attack.family.title()).set_time(Duration::from_secs_f64(attack.seconds));
            case.set_system_out(attack.output.join("\n"));
            suite.add_test_case(case);
        }
        for part in &run.parts {
            let objections = part.objections();
            let status = if objections.is_empty() { TestCaseStatus::success() } else { failure(&objections) };
            let mut case = TestCase::new(part.name.as_str(), status);
            case.set_classname("parts").set_time(Duration::from_secs_f64(part.seconds));
            suite.add_test_case(case);
        }
        for (number, missing) in run.missing.iter().chain(&run.host.differences).enumerate() {
            suite.add_test_case(TestCase::new(format!("missing {number}"), failure(std::slice::from_ref(missing))));
        }
        report.add_test_suite(suite);
    }
    report.to_string().expect("a report is XML")
}

fn failure(why: &[String]) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(why.join("; "));
    status
}
