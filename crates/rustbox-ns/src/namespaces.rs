//! Which namespaces a process is in.

use rustbox_core::RunPlan;

use crate::blueprint::wanted_namespaces;
use crate::error::Error;

/// Inode numbers of a process's namespaces, in the order asked for.
///
/// # Errors
/// `/proc/<pid>/ns` could not be read, or holds something else than namespaces.
pub fn namespace_ids(pid: &str, names: &[&'static str]) -> Result<Vec<u64>, Error> {
    let read = |name: &&'static str| {
        let failed = |source| Error::ReadNamespace { pid: pid.to_owned(), name, source };
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).map_err(failed)?;
        let text = link.to_string_lossy();
        let number = text.split_once(":[").and_then(|(_, rest)| rest.strip_suffix(']'));
        number.and_then(|n| n.parse().ok()).ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))
    };
    names.iter().map(read).collect()
}

/// The namespaces that a plan asks for, by their names below `/proc/<pid>/ns`.
#[must_use]
pub fn planned_namespaces(plan: &RunPlan) -> Vec<&'static str> {
    wanted_namespaces(plan).collect()
}
