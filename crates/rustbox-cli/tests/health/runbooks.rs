//! Every command of a runbook exists, with each of its flags.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::sandbox::Sandbox;

fn below_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Lines of all blocks that are marked as commands.
fn command_lines() -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(below_root("docs/runbooks")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        for block in text.split("```sh\n").skip(1) {
            let block = block.split("```").next().unwrap();
            lines.extend(block.lines().map(|line| (name.clone(), line.to_owned())));
        }
    }
    lines
}

/// The words of each call of rustbox in a line, without the name.
fn calls(line: &str) -> Vec<Vec<&str>> {
    let parts = line.split(['|', '&', ';', '(', ')']).map(str::trim);
    let words = parts.map(|part| part.split_ascii_whitespace().collect::<Vec<_>>());
    words.filter(|words| words.first() == Some(&"rustbox")).map(|words| words[1..].to_vec()).collect()
}

#[test]
fn every_command_of_a_runbook_exists_with_its_flags() {
    let sandbox = Sandbox::new();
    let mut checked = 0;
    for (page, line) in command_lines() {
        for words in calls(&line) {
            // What follows a command's `--` is the payload's, and what stands in quotes is text.
            let words: Vec<&str> = words.into_iter().take_while(|word| *word != "--").collect();
            let verbs = ["health", "run", "audit", "ps", "kill", "cleanup", "doctor", "metrics", "tree", "cgroup-root"];
            let verb = words.iter().find(|word| verbs.contains(word)).unwrap_or_else(|| panic!("{page}: {line}"));
            let help = sandbox.rustbox([*verb, "--help"]);
            assert_eq!(help.code, Some(0), "{page}: {line}");
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let name = flag.split('=').next().unwrap();
                assert!(help.stdout.contains(name), "{page}: {line}: no {name} in {}", help.stdout);
            }
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked} calls were found: the blocks are not marked any more");
}

#[test]
fn every_log_event_is_explained_in_the_message_catalogue() {
    let catalogue = std::fs::read_to_string(below_root("packaging/catalog/rustbox.catalog")).unwrap();
    let ids = rustbox_core::FindingKind::ALL.into_iter().map(rustbox_audit::message_id);
    let ids: BTreeSet<&str> = ids.chain(rustbox_health::LOG_EVENTS.into_iter().map(|(_, id)| id)).collect();
    let explained: BTreeSet<&str> = catalogue.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    assert_eq!(explained, ids);
}

#[test]
fn every_script_of_a_runbook_is_shipped_and_every_page_is_linked() {
    let scripts: BTreeSet<String> = std::fs::read_dir(below_root("packaging/scripts"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let named: BTreeSet<String> = command_lines()
        .iter()
        .flat_map(|(_, line)| line.split_ascii_whitespace())
        .filter(|word| word.ends_with(".sh"))
        .map(|word| word.rsplit('/').next().unwrap().to_owned())
        .collect();
    assert!(named.len() >= 3, "{named:?}");
    assert!(named.is_subset(&scripts), "{named:?} of {scripts:?}");
    let rules = std::fs::read_to_string(below_root("packaging/prometheus/rustbox.rules.yml")).unwrap();
    let index = std::fs::read_to_string(below_root("docs/runbooks/README.md")).unwrap();
    let rows: Vec<&str> = index.lines().filter(|line| line.starts_with("| `")).collect();
    let value = |rule: &str, key: &str| {
        let line = rule.lines().find_map(|line| line.trim().strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key}in {rule}")).to_owned()
    };
    let mut alerts = 0;
    for rule in rules.split("- alert: ").skip(1) {
        let (alert, severity) = (rule.lines().next().unwrap(), value(rule, "labels: {severity: ").replace('}', ""));
        let url = value(rule, "runbook_url: ");
        // As it is installed, from this directory.
        let page = url.strip_prefix("file:///usr/local/share/doc/rustbox/runbooks/").unwrap_or_else(|| panic!("{url}"));
        assert!(below_root("docs/runbooks").join(page).is_file(), "{url}");
        let row = rows.iter().find(|row| row.contains(&format!("`{alert}`")));
        let row = row.unwrap_or_else(|| panic!("{alert} is not in the index"));
        assert!(row.contains(&severity) && row.contains(page), "{alert}: {severity}, {page}: {row}");
        alerts += 1;
    }
    assert!(alerts > 10, "{alerts} alerts");
}

// S75: the pages are installed without the rest of the sources.
#[test]
fn every_link_of_a_runbook_stays_among_the_runbooks() {
    let runbooks = below_root("docs/runbooks");
    let mut links = 0;
    for entry in std::fs::read_dir(&runbooks).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (page, heading) = link.split_once('#').unwrap_or((link, ""));
            assert!(!page.contains('/') && runbooks.join(page).is_file(), "{}: {link}", path.display());
            let there = std::fs::read_to_string(runbooks.join(page)).unwrap();
            let headings = there.lines().filter(|line| line.starts_with('#'));
            let mut anchors = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"));
            assert!(heading.is_empty() || anchors.any(|anchor| anchor == heading), "{}: {link}", path.display());
            links += 1;
        }
    }
    assert!(links > 10, "{links} links");
}

// S56 for the scripts: who could not look never says that nothing is left, and the worst of several answers is the answer.
#[test]
fn a_script_fails_when_it_could_not_look_or_left_something() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink("/nonexistent", sandbox.path().join("state")).unwrap();
    std::fs::create_dir(sandbox.path().join("bin")).unwrap();
    let rustbox = sandbox.command().get_program().to_owned();
    std::os::unix::fs::symlink(rustbox, sandbox.path().join("bin/rustbox")).unwrap();
    let script = |name: &str, args: &[&str]| -> crate::sandbox::Said {
        let text = std::fs::read_to_string(below_root("packaging/scripts").join(name)).unwrap();
        let place = format!("{}/bin/", sandbox.path().display());
        let text = text.replace("/usr/local/bin/", &place);
        let mut shell = std::process::Command::new("/bin/sh");
        let command = sandbox.command();
        shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.args(["-c", &text, name]).args(args).output().unwrap().into()
    };
    for name in ["rustbox-cleanup-mounts.sh", "rustbox-capture-baseline.sh", "rustbox-audit-state.sh"] {
        let said = script(name, &[]);
        let looked = said.code == Some(0);
        assert!(name.contains("baseline") == looked, "{name}: {said:?}");
        assert!(looked || said.stderr.contains("symbolic link"), "{name}: {said:?}");
    }
    // 125 for what is no name, and then 2.
    let said = script("rustbox-cleanup-cgroups.sh", &["No Name", "a-name"]);
    assert_eq!(said.code, Some(125), "{said:?}");
}
