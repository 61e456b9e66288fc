//! Runs the commands that the README shows, as a newcomer would.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::workspace::Workspace;

/// The README's second command; CI runs it in a step of its own.
pub(crate) const TEST_COMMAND: &str = "cargo test --workspace";

/// Runs every command of the README's shell blocks except the tests.
pub(crate) fn run_examples(workspace: &Workspace) -> Result<()> {
    let path = workspace.root.join("README.md");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let commands = commands(&text);
    if !commands.iter().any(|shown| shown == TEST_COMMAND) {
        bail!("the README does not show `{TEST_COMMAND}`");
    }
    for shown in commands.iter().filter(|shown| *shown != TEST_COMMAND) {
        println!("$ {shown}");
        command::run(Command::new("sh").args(["-euc", shown]).current_dir(&workspace.root))?;
    }
    Ok(())
}

/// The lines of the blocks that begin with "```sh"; a backslash at the end of a line continues it.
fn commands(markdown: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut in_block = false;
    let mut continued = false;
    for line in markdown.lines() {
        match (in_block, line) {
            (false, "```sh") => in_block = true,
            (true, "```") => in_block = false,
            (true, line) => {
                match found.last_mut().filter(|_| continued) {
                    Some(command) => command.push_str(&format!("\n{line}")),
                    None => found.push(line.to_owned()),
                }
                continued = line.ends_with('\\');
            }
            (false, _) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_the_lines_of_shell_blocks() {
        let text = "Run:\n```sh\ncargo run -- \\\n  a\ncargo test\n```\n```text\nnot this\n```\n";
        assert_eq!(commands(text), ["cargo run -- \\\n  a", "cargo test"]);
    }
}
