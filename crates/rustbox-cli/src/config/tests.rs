use std::path::Path;

use rustbox_core::{BindAccess, ByteSize, CgroupBackend};

use super::*;

fn problems(text: &str) -> Vec<String> {
    match parse(Path::new("f"), text) {
        Ok(settings) => panic!("accepted: {settings:?}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

fn accepted(text: &str) -> FileSettings {
    parse(Path::new("f"), text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

// S55, B08, Q08: the runbooks' files are JSON, with their own names for some keys.
#[test]
fn the_runbooks_json_is_read() {
    let file = accepted(
        r#"{ "strict_mode": true, "pid_namespace": true, "mount_namespace": true,
             "cgroup_backend": "v1", "memory_limit": "2G", "pids_limit": 64, "time_limit": 1.5 }"#,
    );
    assert_eq!(file.run.strict_mode, Some(true));
    assert_eq!(file.run.cgroup_backend, Some(CgroupBackend::V1));
    assert_eq!(file.run.mem, Some(ByteSize(2 << 30)));
    assert_eq!(file.run.pids, Some(64));
    assert_eq!(file.lines.iter().find(|(key, _)| key == "mem"), Some(&("mem".to_owned(), 2)));
}

#[test]
fn toml_and_json_say_the_same() {
    let toml =
        accepted("mem = \"64M\"\ncpus = 1.5\ncpuset = 0\nbind = [\"/a:/b\"]\nenv = [\"A=b\"]\nstate_dir = \"/s\"");
    let json =
        accepted(r#"{"mem": "64M", "cpus": 1.5, "cpuset": 0, "bind": ["/a:/b"], "env": ["A=b"], "state_dir": "/s"}"#);
    assert_eq!(toml.run, json.run);
    assert_eq!(toml.state_dir, json.state_dir);
    assert_eq!(toml.run.binds, vec![("/a:/b".to_owned(), BindAccess::Writable)]);
    assert_eq!(toml.run.cpus.as_deref(), Some("1.5"));
}

#[test]
fn everything_wrong_with_a_file_is_told_at_once_with_key_and_line() {
    let text = "memm = 5\npids = 0\nmem = \"64X\"\n\ntime = -1\nstrict_mode = 3\nbind = \"x\"\nstate_dir = \"rel\"\n\
                hostname = \"a b\"\ntmpfs = [\"rel\"]\ncgroup_backend = \"v3\"\nno_such_thing = 1\n[mem_table]\na = 1\n";
    insta::assert_snapshot!(problems(text).join("\n"));
}

#[test]
fn duplicates_are_mistakes_in_both_formats_and_under_either_name() {
    assert_eq!(problems("mem = 1\nmem = 2\n"), ["f:2: mem: duplicate key"]);
    assert_eq!(problems("{\"mem\": 5000000,\n\"mem\": 5000000}"), ["f:2: mem: duplicate key"]);
    let twice = ["f:2: memory_limit: duplicate key: the same as mem"];
    assert_eq!(problems("mem = \"64M\"\nmemory_limit = \"64M\"\n"), twice);
    assert_eq!(problems("{\"mem\": \"64M\",\n\"memory_limit\": \"64M\"}"), twice);
}

#[test]
fn broken_syntax_is_told_with_its_line() {
    for (text, line) in [
        ("mem = \n", 1),
        ("mem = \"64M\"\n= 3\n", 2),
        ("[[[\n", 1),
        ("{\n\"mem\": 5,,\n}", 2),
        ("{\"mem\": 5000000\n", 2),
        ("{} trailing", 1),
    ] {
        let found = problems(text);
        assert!(found[0].starts_with(&format!("f:{line}: ")), "{text:?}: {found:?}");
    }
    assert_eq!(problems("{\"mem\": null}"), ["f:1: mem: null is no value; leave the key out"]);
}

// D27: the mode decides about a control that is switched off, not the file by itself.
#[test]
fn a_control_that_is_switched_off_is_not_a_mistake_of_the_file() {
    let file = accepted("pid_namespace = false\n");
    assert_eq!(file.run.pid_namespace, Some(false));
}

#[test]
fn every_key_of_a_run_can_be_set_by_its_own_name() {
    let keys = interpret::known_keys();
    for key in ["mem", "wall_time", "seccomp", "wait_for_box", "time_namespace", "state_dir", "bind", "env"] {
        assert!(keys.iter().any(|known| known == key), "{key}");
    }
    for key in keys {
        let found = parse(Path::new("f"), &format!("{key} = {{ a = 1 }}\n")).unwrap_err();
        assert!(!found[0].reason.contains("unknown key"), "{key}: {}", found[0].reason);
    }
}

#[test]
fn a_problem_cannot_write_to_the_terminal() {
    let found = problems("{\"\\u001b[2Jx\": 1}");
    assert!(!found[0].contains('\u{1b}'), "{found:?}");
}
