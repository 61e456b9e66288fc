//! The capability report of a run.

use rustbox_core::{AppliedControl, Controls, MissingControl, Mode, Network, PidfdMode, RunPlan, SeccompMode};

use crate::error::Error;
use crate::host::Host;
use crate::sandbox::{Facts, applied};
use crate::told::Told;

/// The controls that a plan asks for, by name.
fn configured(plan: &RunPlan) -> Vec<String> {
    let namespaces = plan.namespaces;
    let optional = [
        (namespaces.pid, "pid_namespace"),
        (namespaces.mount, "mount_namespace"),
        (plan.network == Network::None, "network_namespace"),
        (namespaces.ipc, "ipc_namespace"),
        (namespaces.uts, "uts_namespace"),
        (namespaces.cgroup, "cgroup_namespace"),
        (namespaces.time, "time_namespace"),
        (plan.limits.cpus.is_some(), "cpu"),
        (plan.limits.cpuset.is_some(), "cpuset"),
        (plan.seccomp != SeccompMode::Off, "seccomp"),
    ];
    let always =
        ["memory", "pids", "cpu_accounting", "pdeathsig", "lifeline", "credentials", "capabilities", "no_new_privs"];
    let optional = optional.iter().filter(|(on, _)| *on).map(|(_, name)| *name);
    always.into_iter().chain(optional).map(str::to_owned).collect()
}

/// What is switched off, and so missing; only permissive mode gets this far.
fn switched_off(plan: &RunPlan) -> Vec<MissingControl> {
    let namespaces = plan.namespaces;
    let switches = [
        (namespaces.pid, "pid_namespace"),
        (namespaces.mount, "mount_namespace"),
        (namespaces.ipc, "ipc_namespace"),
        (namespaces.uts, "uts_namespace"),
        (namespaces.cgroup, "cgroup_namespace"),
    ];
    let off = switches.iter().filter(|(on, _)| !on).map(|(_, name)| MissingControl {
        control: (*name).to_owned(),
        reason: "switched off by configuration".to_owned(),
        fix: format!("remove {name} = false"),
    });
    off.collect()
}

/// Why a run is weaker than the default.
fn weaker(plan: &RunPlan, missing: &[MissingControl]) -> Option<String> {
    let mut reasons = Vec::new();
    if plan.network == Network::Host {
        reasons.push("the payload sees the host's network (--net host)".to_owned());
    }
    if plan.seccomp == SeccompMode::Off {
        reasons.push("no system call is filtered (--seccomp off)".to_owned());
    }
    reasons.extend(missing.iter().map(|control| format!("{} is missing: {}", control.control, control.reason)));
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// What this host would give a run of this plan, without running it.
#[must_use]
pub fn preflight(host: &Host, plan: &RunPlan) -> Controls {
    report(host, plan, Vec::new())
}

/// The report of a run that took place: what was read back, and what is missing.
pub(crate) fn of_run(host: &Host, plan: &RunPlan, facts: &Facts, told: &Told, uid: u32) -> Controls {
    let mut list = facts.applied.clone();
    // The init lets the child go only after it has compared these lines, exactly.
    if told.started.is_some() && facts.reads_back {
        list.extend(payload_controls(plan, uid));
    }
    report(host, plan, list)
}

fn payload_controls(plan: &RunPlan, uid: u32) -> Vec<AppliedControl> {
    const SOURCE: &str = "/proc/<pid>/status of the payload, read by the box's init before the exec";
    let ids = format!("uid {uid}, gid {uid}, no groups");
    let mut list = vec![
        applied("credentials", &ids, &ids, SOURCE),
        applied("capabilities", "0 in all five sets", "0 in all five sets", SOURCE),
        applied("no_new_privs", "1", "1", SOURCE),
    ];
    if plan.seccomp != SeccompMode::Off {
        list.push(applied("seccomp", "filter", "2", SOURCE));
    }
    list
}

fn report(host: &Host, plan: &RunPlan, applied_controls: Vec<AppliedControl>) -> Controls {
    let mut missing_controls = host.hierarchies().missing(&plan.limits);
    missing_controls.extend(switched_off(plan));
    if plan.namespaces.mount != plan.namespaces.pid {
        missing_controls.push(MissingControl {
            control: "payload_read_back".to_owned(),
            reason: "without both a PID and a mount namespace the init has no /proc that names its child".to_owned(),
            fix: "switch both on, or both off".to_owned(),
        });
    }
    let unsafe_execution_reason = weaker(plan, &missing_controls);
    Controls {
        configured_controls: configured(plan),
        applied_controls,
        missing_controls,
        mode: plan.mode,
        mode_decision_reason: plan.mode_reason.clone(),
        unsafe_execution_reason,
        cgroup_backend: host.hierarchies().backend(),
        pidfd_mode: PidfdMode::Native,
    }
}

/// Refuses a strict run for which a control is missing.
pub(crate) fn require(host: &Host, plan: &RunPlan) -> Result<(), Error> {
    let missing = match plan.mode {
        Mode::Strict => host.hierarchies().missing(&plan.limits),
        Mode::Permissive => Vec::new(),
    };
    if missing.is_empty() { Ok(()) } else { Err(Error::ControlMissing(missing)) }
}
