//! `rustbox cgroup-root`.

use rustbox_cgroup::Hierarchies;

use crate::config::Settings;
use crate::error::CliError;
use crate::output::print;

/// Prints the roots, one a line. In the first one `rustbox-<id>/cgroup.procs` lists every process of a box; the
/// runbooks take it with `head -1`.
pub(crate) fn cgroup_root(settings: &Settings) -> Result<u8, CliError> {
    let hierarchies = Hierarchies::detect_at(settings.run.cgroup_backend, settings.cgroup_root.as_deref());
    let roots = hierarchies.map_err(CliError::Cgroups)?.roots();
    print(&roots.iter().map(|root| format!("{}\n", root.display())).collect::<String>())?;
    Ok(0)
}
