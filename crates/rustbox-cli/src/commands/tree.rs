//! `rustbox tree`.

use rustbox_audit::{Attributor, Life, Phase, Placement, ProcRoot, ProcSnapshot, ProcessSeen, Registry};
use rustbox_core::Strength;

use super::host;
use crate::audited::registry;
use crate::config::Settings;
use crate::error::CliError;
use crate::output::print_styled;
use crate::render::{Branch, tree as draw};

/// One look: what is drawn is what was seen. Whether it is a finding takes two looks, and `rustbox audit`.
pub(crate) fn tree(settings: &Settings) -> Result<u8, CliError> {
    let host = host::look(settings)?;
    let registry = registry(&host);
    let root = ProcRoot::open_host().map_err(CliError::Audit)?;
    let look = ProcSnapshot::take(&root, &registry).map_err(CliError::Audit)?;
    print_styled(&draw(&branches(&registry, &look)))?;
    Ok(0)
}

fn branches(registry: &Registry, look: &ProcSnapshot) -> Vec<Branch> {
    let attributor = Attributor::new(registry, look);
    let mut branches: Vec<Branch> =
        registry.boxes.iter().map(|marks| Branch::new(&marks.box_id, marks.phase)).collect();
    for (branch, marks) in branches.iter_mut().zip(&registry.boxes) {
        if let Some(supervisor) = marks.supervisor.filter(|_| marks.phase == Phase::Live) {
            let name = look.ancestors.get(&supervisor.pid).map(|seen| seen.comm.clone()).unwrap_or_default();
            branch.supervisor = Some((supervisor.pid, name));
        }
    }
    for process in &look.candidates {
        let Some(found) = attributor.attribute(process).filter(|found| found.strength == Strength::Primary) else {
            continue;
        };
        let Some((branch, marks)) =
            found.box_index.and_then(|index| Some((branches.get_mut(index)?, registry.boxes.get(index)?)))
        else {
            continue;
        };
        if marks.supervisor == Some(process.key) {
            continue;
        }
        let is_outside = matches!(found.placement, Placement::Outside | Placement::PartlyOutside);
        branch.add(process.key.pid, process.stat.ppid, shown(process), is_outside || marks.phase.is_unowned());
    }
    branches
}

fn shown(process: &ProcessSeen) -> String {
    let life = match process.life {
        Life::Newborn | Life::Alive => "",
        Life::Dying => " (dying)",
        Life::Zombie => " (zombie)",
    };
    format!("{}{life}", process.comm)
}
