//! The picture of `rustbox tree`.

use std::collections::{BTreeMap, BTreeSet};

use anstyle::{AnsiColor, Style};
use rustbox_audit::Phase;
use rustbox_core::BoxId;

use super::escape_text;

/// Deeper trees are cut: a payload forks as deep as it likes, and a terminal is only so wide.
const DEPTH_MAX: usize = 24;

/// One box with its processes.
#[derive(Debug)]
pub(crate) struct Branch {
    box_id: String,
    phase: Phase,
    /// Pid and name.
    pub(crate) supervisor: Option<(u32, String)>,
    processes: BTreeMap<u32, Leaf>,
}

#[derive(Debug)]
struct Leaf {
    ppid: u32,
    name: String,
    is_misplaced: bool,
}

impl Branch {
    /// A box without processes.
    pub(crate) fn new(box_id: &BoxId, phase: Phase) -> Self {
        Self { box_id: box_id.to_string(), phase, supervisor: None, processes: BTreeMap::new() }
    }

    /// Adds a process; `is_misplaced` draws it in red.
    pub(crate) fn add(&mut self, pid: u32, ppid: u32, name: String, is_misplaced: bool) {
        self.processes.insert(pid, Leaf { ppid, name, is_misplaced });
    }
}

/// Draws every box.
pub(crate) fn tree(branches: &[Branch]) -> String {
    if branches.is_empty() {
        return "no boxes\n".to_owned();
    }
    branches.iter().map(draw).collect()
}

fn draw(branch: &Branch) -> String {
    let state = match branch.phase {
        Phase::Live => "alive",
        Phase::Abandoned => "dead: nobody owns it",
        Phase::Killed => "killed, and not cleaned up",
        Phase::Closed => "cleaned up",
        Phase::EarlierBoot => "from an earlier boot",
        Phase::Unknown => "not known here",
    };
    let bold = Style::new().bold();
    let mut out = format!("{bold}{}{bold:#} ({state})\n", branch.box_id);
    if let Some((pid, name)) = &branch.supervisor {
        out.push_str(&format!("  {pid} {} supervisor\n", escape_text(name)));
    }
    let mut drawn = BTreeSet::new();
    for (pid, leaf) in &branch.processes {
        if !branch.processes.contains_key(&leaf.ppid) {
            descend(branch, *pid, 1, &mut drawn, &mut out);
        }
    }
    out
}

fn descend(branch: &Branch, pid: u32, depth: usize, drawn: &mut BTreeSet<u32>, out: &mut String) {
    let Some(leaf) = branch.processes.get(&pid) else { return };
    // Pids are given away again, so parents could go round in a circle.
    if depth > DEPTH_MAX || !drawn.insert(pid) {
        return;
    }
    let red = if leaf.is_misplaced { Style::new().bold().fg_color(Some(AnsiColor::Red.into())) } else { Style::new() };
    let note = if leaf.is_misplaced { " OUTSIDE" } else { "" };
    out.push_str(&format!("{}{red}{pid} {}{note}{red:#}\n", "  ".repeat(depth + 1), escape_text(&leaf.name)));
    for (child, other) in &branch.processes {
        if other.ppid == pid {
            descend(branch, *child, depth + 1, drawn, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_hang_below_their_parents_and_what_is_outside_is_red() {
        let mut branch = Branch::new(&"b7".parse().unwrap(), Phase::Live);
        branch.supervisor = Some((10, "rustbox".to_owned()));
        branch.add(11, 10, "rustbox-init".to_owned(), false);
        branch.add(12, 11, "sh".to_owned(), false);
        branch.add(13, 12, "a\x1b[2Jb".to_owned(), true);
        let plain = anstream::adapter::strip_str(&tree(&[branch])).to_string();
        assert_eq!(
            plain,
            "b7 (alive)\n  10 rustbox supervisor\n    11 rustbox-init\n      12 sh\n        13 a\\u{1b}[2Jb OUTSIDE\n"
        );
    }

    #[test]
    fn parents_in_a_circle_end() {
        let mut branch = Branch::new(&"b7".parse().unwrap(), Phase::Abandoned);
        branch.add(1, 9, "a".to_owned(), true);
        branch.add(2, 3, "b".to_owned(), true);
        branch.add(3, 2, "c".to_owned(), true);
        assert!(tree(&[branch]).contains("1 a OUTSIDE"));
    }
}
