//! What the program says about itself.

use crate::sandbox::Sandbox;

#[test]
fn help_teaches_every_command() {
    let sandbox = Sandbox::new();
    for command in
        ["", "run", "doctor", "ps", "kill", "cleanup", "prepare", "cgroup-root", "config", "schema", "completions"]
    {
        let args = if command.is_empty() { vec!["--help"] } else { vec![command, "--help"] };
        let said = sandbox.rustbox(args);
        assert_eq!(said.code, Some(0));
        let name = if command.is_empty() { "help".to_owned() } else { format!("help_{command}") };
        insta::assert_snapshot!(name, said.stdout);
    }
}

/// The published schema is the one of this program.
#[test]
fn the_published_schema_has_not_drifted() {
    let published = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/run.v1.json");
    let published = std::fs::read_to_string(published).unwrap();
    let own = Sandbox::new().rustbox(["schema"]).stdout;
    assert!(published == own, "run: cargo run -p rustbox-cli -- schema > docs/schema/run.v1.json");
}

#[test]
fn the_schema_is_a_valid_schema_that_refuses_something() {
    let schema: serde_json::Value = serde_json::from_str(&Sandbox::new().rustbox(["schema"]).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(!validator.is_valid(&serde_json::json!({})));
}

#[test]
fn completions_and_manual_pages_name_the_commands() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let said = sandbox.rustbox(["completions", shell]);
        assert_eq!(said.code, Some(0));
        assert!(said.stdout.contains("wall-time") && said.stdout.contains("cgroup-root"), "{shell}");
    }
    assert!(sandbox.rustbox(["man"]).stdout.contains(".TH rustbox 1"));
    let said = sandbox.rustbox(["man", "."]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for page in ["rustbox.1", "rustbox-run.1", "rustbox-config-show.1"] {
        assert!(sandbox.names().iter().any(|name| name == page), "{page} of {:?}", sandbox.names());
    }
}
