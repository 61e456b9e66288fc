//! The two kinds of attack, and what has to be true of a box that was attacked.

use crate::canary::Canary;
use crate::ended::EndedBox;
use crate::lab::{BoxCommand, Lab};

/// Runs a payload whose attack goes on behind the main process, and asserts that the box ends it.
///
/// # Panics
/// When it does not, when there was nothing to end, or when a stranger was harmed.
pub fn attack_that_stays(lab: &Lab, name: &str, args: &[&str], flags: &[&str]) -> EndedBox {
    let command: BoxCommand<'_> = lab.a_box().attack(name, args).flags(flags);
    let canary = Canary::start(command.box_id());
    let ended = command.finish();
    canary.assert_unharmed();
    ended.assert_contained().assert_said("armed:");
    let killed = ended.report().containment.processes_at_kill_count;
    assert!(killed.is_some_and(|n| n > 0), "nothing was there to be killed, so nothing is proved: {ended}");
    ended
}

/// Runs a payload that tells each attempt itself, and asserts that none succeeded.
///
/// # Panics
/// When one did.
pub fn attack_that_tells(lab: &Lab, name: &str, args: &[&str], flags: &[&str]) -> EndedBox {
    let ended = lab.a_box().attack(name, args).flags(flags).finish();
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0).assert_said(&format!("{name}: contained"));
    ended
}
