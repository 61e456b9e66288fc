//! The last question, which answers all others at once: does a box run?

use rustbox_core::{ContainmentVerdict, RunReport, RunSpec, Status};
use rustbox_supervisor::{Host, RunIo};

use super::{Need, Verdict};
use crate::config::Settings;
use crate::error::CliError;

const NAME: &str = "a box";
const REQUIRED: &str = "all namespaces, limits, credentials and the filter, read back; nothing left";
/// Nothing that a root could lack, and nothing that could take long.
const PROGRAM: &str = "/bin/true";
/// A box of a doctor that hangs is a sick box.
const WALL_TIME: std::time::Duration = std::time::Duration::from_secs(5);

/// Runs a program that does nothing in a box of the default kind, in strict mode.
///
/// Without root's rights it is not tried: that line of the doctor says so.
pub(super) fn a_box(settings: &Settings) -> Option<Need> {
    rustix::process::geteuid().is_root().then(|| match try_one(settings) {
        Ok(report) => judge(&report),
        Err(error) => {
            Need::new(NAME, Verdict::Fail, error.line(), REQUIRED).fix("see the lines above that do not pass")
        }
    })
}

fn try_one(settings: &Settings) -> Result<RunReport, CliError> {
    let spec = RunSpec {
        argv: vec![PROGRAM.into()],
        wall_time: Some(rustbox_core::Seconds(WALL_TIME)),
        cgroup_backend: settings.run.cgroup_backend,
        ..RunSpec::default()
    };
    let plan = spec.validate().map_err(|source| settings.refusal(source))?;
    let host = Host::open(&settings.places(), plan.cgroup_backend).map_err(CliError::Supervisor)?;
    let io = RunIo { interrupt: None, observer: &mut |_| {} };
    rustbox_supervisor::run(&host, &plan, io).map_err(CliError::Supervisor)
}

fn judge(report: &RunReport) -> Need {
    let ran = report.status == Status::Ok && report.containment.verdict == ContainmentVerdict::Contained;
    if !ran {
        let found = format!("{} ({}): {}", report.status, report.cause, report.message);
        return Need::new(NAME, Verdict::Fail, found, REQUIRED).fix("rustbox run --json -- /bin/true tells all of it");
    }
    let confirmed: Vec<&str> = report.controls.applied_controls.iter().map(|c| c.control.as_str()).collect();
    Need::new(NAME, Verdict::Pass, format!("{PROGRAM} ran contained, with {}", confirmed.join(", ")), REQUIRED)
}
