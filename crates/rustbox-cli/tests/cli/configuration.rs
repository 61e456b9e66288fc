//! The configuration file, through the real binary.

use std::os::unix::fs::PermissionsExt;

use crate::sandbox::Sandbox;

// S55, D27, D40.
#[test]
fn a_mistake_in_the_file_stops_every_command_with_file_line_and_key() {
    let sandbox = Sandbox::new();
    sandbox.file("c.toml", "mem = \"64M\"\nmemm = 5\npids = 0\n");
    for command in
        [&["run", "--", "true"][..], &["doctor"], &["cgroup-root"], &["config", "check"], &["config", "show"]]
    {
        let said = sandbox.rustbox(["--config", "c.toml"].iter().chain(command));
        assert_eq!(said.code, Some(125), "{command:?}: {said:?}");
        assert!(said.stderr.contains("c.toml:2: memm: unknown key; did you mean mem?"), "{said:?}");
        assert!(said.stderr.contains("c.toml:3: pids: 0 is not between 1 and"), "{said:?}");
    }
    assert_eq!(sandbox.names(), ["c.toml"]);
}

// D27: strict mode and a control that is off contradict each other: 122, and the key is named with its place.
#[test]
fn a_control_that_is_switched_off_refuses_the_run_with_122() {
    let sandbox = Sandbox::new();
    for key in ["pid_namespace", "mount_namespace"] {
        sandbox.file("c.json", &format!("{{ \"strict_mode\": true,\n  \"{key}\": false }}"));
        let said = sandbox.rustbox(["--config", "c.json", "run", "--json", "--", "true"]);
        assert_eq!(said.code, Some(122), "{said:?}");
        assert!(said.stderr.contains("c.json:2") && said.stderr.contains(key), "{said:?}");
        let refusal: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(refusal["cause"], "control_missing");
        assert_eq!(refusal["exit_code"], 122);
        let check = sandbox.rustbox(["config", "check", "c.json"]);
        assert_eq!(check.code, Some(125), "{check:?}");
        assert!(check.stderr.contains(&format!("c.json:2: {key}: ")), "{check:?}");
    }
    assert_eq!(sandbox.names(), ["c.json"]);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let sandbox = Sandbox::new();
    sandbox.file("c.toml", "state_dir = \"/from/file\"\ncgroup_backend = \"v1\"\nmem = \"2G\"\n");
    let show = |variable: Option<&str>, flags: &[&str]| {
        let mut command = sandbox.command();
        command.env_remove("RUSTBOX_STATE_DIR").env("RUSTBOX_CONFIG", "c.toml").args(["config", "show"]).args(flags);
        if let Some(value) = variable {
            command.env("RUSTBOX_STATE_DIR", value);
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let file = show(None, &[]);
    assert!(file.contains("state_dir = \"/from/file\"  # c.toml:1\n"), "{file}");
    assert!(file.contains("cgroup_backend = \"v1\"  # c.toml:2\n"), "{file}");
    assert!(file.contains("mem = \"2G\"  # c.toml:3\n"), "{file}");
    assert!(file.contains("pids = 256  # default\n"), "{file}");
    let variable = show(Some("/from/env"), &[]);
    assert!(variable.contains("state_dir = \"/from/env\"  # RUSTBOX_STATE_DIR\n"), "{variable}");
    let flag = show(Some("/from/env"), &["--state-dir", "/from/flag", "--cgroup-backend", "v2"]);
    assert!(flag.contains("state_dir = \"/from/flag\"  # --state-dir\n"), "{flag}");
    assert!(flag.contains("cgroup_backend = \"v2\"  # --cgroup-backend\n"), "{flag}");
}

/// What is shown is a file that says the same again.
#[test]
fn what_config_show_prints_is_itself_a_configuration() {
    let sandbox = Sandbox::new();
    sandbox.file("c.toml", "mem = \"64M\"\ncpus = 1.5\nbind = [\"/a:/b\"]\nenv = [\"A=\\\"b\"]\ntime = 1.5\n");
    let shown = sandbox.rustbox(["--config", "c.toml", "config", "show"]).stdout;
    sandbox.file("again.toml", &shown);
    let again = sandbox.rustbox(["--config", "again.toml", "config", "show"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(values(&again.stdout), values(&shown));
}

#[test]
fn config_check_says_ok_to_a_good_file_and_to_none() {
    let sandbox = Sandbox::new();
    sandbox.file("c.toml", "mem = \"64M\"\n");
    assert_eq!(sandbox.rustbox(["config", "check", "c.toml"]).stdout, "OK c.toml\n");
    assert_eq!(sandbox.rustbox(["config", "check", "none.toml"]).code, Some(125));
}

/// Whoever can write the file decides what root does.
#[test]
fn root_refuses_a_file_that_others_can_write_or_own() {
    assert!(rustix::process::geteuid().is_root(), "this test changes owners, so it needs root");
    let sandbox = Sandbox::new();
    let path = sandbox.file("c.toml", "mem = \"64M\"\n");
    let check = || sandbox.rustbox(["config", "check", "c.toml"]);
    let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    mode(0o666);
    assert!(check().stderr.contains("writable by others"), "{:?}", check());
    mode(0o644);
    assert_eq!(check().code, Some(0));
    std::os::unix::fs::chown(&path, Some(70_000), None).unwrap();
    assert!(check().stderr.contains("owned by uid 70000"), "{:?}", check());
    std::fs::remove_file(&path).unwrap();
    sandbox.fifo("c.toml");
    assert!(check().stderr.contains("not a regular file"), "a fifo must not make rustbox wait");
}
