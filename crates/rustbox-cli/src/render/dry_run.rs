//! The capability report of a dry run, for people.

use rustbox_core::{Controls, Mode};

use super::escape_text;

/// What a run would get on this host, one control a line.
pub(crate) fn capabilities(controls: &Controls) -> String {
    let mode = match controls.mode {
        Mode::Strict => "strict",
        Mode::Permissive => "permissive",
    };
    let mut lines = vec![
        format!("mode: {mode} ({})", controls.mode_decision_reason),
        format!("cgroup backend: {}", controls.cgroup_backend),
    ];
    lines.extend(controls.unsafe_execution_reason.iter().map(|text| format!("weaker than the default: {text}")));
    for name in &controls.configured_controls {
        match controls.missing_controls.iter().find(|missing| missing.control == *name) {
            Some(missing) => lines.push(format!("MISSING  {name}: {} ({})", missing.reason, missing.fix)),
            None => lines.push(format!("ok       {name}")),
        }
    }
    let unlisted = controls.missing_controls.iter().filter(|m| !controls.configured_controls.contains(&m.control));
    lines.extend(unlisted.map(|m| format!("MISSING  {}: {} ({})", m.control, m.reason, m.fix)));
    lines.push(match (controls.missing_controls.is_empty(), controls.mode) {
        (true, _) => "nothing is missing: the run would start; nothing was run or created".to_owned(),
        (false, Mode::Strict) => "the run would be refused (122): --permissive runs without what is missing".to_owned(),
        (false, Mode::Permissive) => {
            "the run would start without what is missing; nothing was run or created".to_owned()
        }
    });
    lines.iter().map(|line| escape_text(line) + "\n").collect()
}
