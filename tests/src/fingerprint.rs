//! What `contain_fingerprint` prints, without what differs from box to box.

use std::collections::BTreeSet;

/// Everything that a payload can see of its own confinement, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    lines: BTreeSet<String>,
    complete: bool,
}

impl Fingerprint {
    /// Whether the payload came to its end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// What differs from a baseline: `-` is missing, `+` is new. Of a payload that was ended on the way, only what
    /// is new counts.
    #[must_use]
    pub fn against(&self, baseline: &Self) -> Vec<String> {
        let missing = baseline.lines.difference(&self.lines).filter(|_| self.complete).map(|line| format!("-{line}"));
        missing.chain(self.lines.difference(&baseline.lines).map(|line| format!("+{line}"))).collect()
    }
}

/// Reads it from what the payload printed; none when it did not run.
#[must_use]
pub fn fingerprint_of(stdout: &str) -> Option<Fingerprint> {
    // A line that was cut off by a kill is none.
    let whole = stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = || whole.lines().filter_map(|line| line.strip_prefix("contain_fingerprint: "));
    let complete = lines().any(|line| line == "complete");
    lines().next()?;
    let uid = lines().find_map(|line| line.strip_prefix("/proc/self/status Uid:"));
    let uid = uid.and_then(|ids| ids.split_ascii_whitespace().next()).unwrap_or("?").to_owned();
    Some(Fingerprint { lines: lines().filter_map(|line| normal(line, &uid)).collect(), complete })
}

fn normal(line: &str, uid: &str) -> Option<String> {
    if let Some(mount) = line.strip_prefix("/proc/self/mountinfo ") {
        // Ids of mounts and of anonymous devices are counters.
        let mut words: Vec<&str> = mount.split(' ').skip(2).collect();
        if words.first().is_some_and(|device| device.starts_with("0:")) {
            words[0] = "0:*";
        }
        return Some(format!("mount {}", words.join(" ").replace(uid, "UID")));
    }
    if let Some(link) = line.strip_prefix("/proc/self/ns/") {
        // A number of its own is as good as another; the host's is not.
        let name = link.split(' ').next().unwrap_or_default();
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).ok()?;
        let of_the_host = link.ends_with(host.to_str()?);
        return Some(format!("namespace {name} {}", if of_the_host { "of the host" } else { "of its own" }));
    }
    if line.starts_with("/proc/self/fd/1 ") || line.starts_with("/proc/self/fd/2 ") {
        // The files that the test gave.
        return line.rsplit_once(' ').map(|(fd, _)| format!("{fd} a file of the caller's"));
    }
    Some(line.replace(uid, "UID"))
}
