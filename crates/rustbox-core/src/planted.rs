//! Defects on purpose, for the tests that must see them. None can be in a release build, nor in one without the feature.

/// A defect that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Nothing at all kills the box when its supervisor dies.
    NoDeathGuard,
    /// No parent-death signal.
    NoDeathSignal,
    /// The init does not poll the supervisor's pidfd.
    NoLifeLine,
    /// The init is attached to its cgroups when the payload runs already.
    AttachAfterExec,
    /// Removing a cgroup is tried again on ENOTEMPTY only, and the kernel says EBUSY.
    RetryOnlyNotEmpty,
    /// Recovery kills the pid that the record names.
    KillByPid,
    /// Whoever is called rustbox is taken for a leftover.
    AuditByName,
    /// A box is called empty without being looked at.
    ReportWithoutReading,
    /// A keeper that is told of its next box goes on with the names of the last.
    KeeperKeepsItsNames,
}

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!("the feature planted-bugs is for tests: a release build with a defect on purpose must not exist");

/// Whether this defect is to be had: `RUSTBOX_PLANTED` names it.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    static CHOSEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("RUSTBOX_PLANTED").unwrap_or_default());
    let name = match bug {
        Bug::NoDeathGuard => "no-death-guard",
        Bug::NoDeathSignal => "no-death-signal",
        Bug::NoLifeLine => "no-life-line",
        Bug::AttachAfterExec => "attach-after-exec",
        Bug::RetryOnlyNotEmpty => "retry-only-not-empty",
        Bug::KillByPid => "kill-by-pid",
        Bug::AuditByName => "audit-by-name",
        Bug::ReportWithoutReading => "report-without-reading",
        Bug::KeeperKeepsItsNames => "keeper-keeps-its-names",
    };
    chosen == name
}

/// Never: this build has none.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn is(_bug: Bug) -> bool {
    false
}
