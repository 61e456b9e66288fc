//! Whether this process may do what a supervisor does.

use caps::{CapSet, Capability};

use super::{Need, Verdict};

/// Without these no box can be made.
const REQUIRED: [Capability; 8] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_KILL,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_SYS_PTRACE,
];

pub(super) fn rights() -> Vec<Need> {
    vec![root(), capabilities(), hard_limits()]
}

fn root() -> Need {
    let uid = rustix::process::geteuid();
    let need = |verdict| Need::new("root", verdict, format!("uid {}", uid.as_raw()), "uid 0");
    if uid.is_root() { need(Verdict::Pass) } else { need(Verdict::Fail).fix("run rustbox as root: sudo rustbox ...") }
}

/// The capabilities of a list that are not in effect.
fn lacking(wanted: &[Capability]) -> Result<Vec<String>, caps::errors::CapsError> {
    let effective = caps::read(None, CapSet::Effective)?;
    Ok(wanted.iter().filter(|cap| !effective.contains(cap)).map(ToString::to_string).collect())
}

fn capabilities() -> Need {
    const NAME: &str = "capabilities";
    let required = REQUIRED.map(|cap| cap.to_string()).join(" ");
    match lacking(&REQUIRED) {
        Ok(lacking) if lacking.is_empty() => Need::new(NAME, Verdict::Pass, "all in effect", &required),
        Ok(lacking) => Need::new(NAME, Verdict::Fail, format!("without {}", lacking.join(" ")), &required)
            .fix("start rustbox as root outside a container, or give the container these capabilities"),
        Err(e) => Need::new(NAME, Verdict::Unknown, e.to_string(), &required),
    }
}

/// Some container runtimes hold this one back; a box then cannot have more than they have.
fn hard_limits() -> Need {
    const NAME: &str = "CAP_SYS_RESOURCE";
    const USE: &str = "only for limits above this process's own hard limits";
    match lacking(&[Capability::CAP_SYS_RESOURCE]) {
        Ok(lacking) if lacking.is_empty() => Need::new(NAME, Verdict::Info, "in effect", USE),
        Ok(_) => Need::new(NAME, Verdict::Info, "not in effect", USE),
        Err(e) => Need::new(NAME, Verdict::Unknown, e.to_string(), USE),
    }
}
