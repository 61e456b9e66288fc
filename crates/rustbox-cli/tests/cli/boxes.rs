//! Real boxes, and what is told of them.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::AsRawFd;

use serde_json::Value;

use crate::sandbox::{Said, Sandbox};

fn report(said: &Said) -> Value {
    let last = said.stdout.lines().next_back().unwrap_or_default();
    let report = serde_json::from_str(last);
    assert!(report.is_ok(), "the last line is no JSON: {said:?}");
    report.unwrap_or_default()
}

/// Reports of different endings, which between them fill most fields.
fn reports(sandbox: &Sandbox) -> Vec<Value> {
    let runs: &[&[&str]] = &[
        &["--", "true"],
        &["--code", "sleep 100 & exit 3"],
        &["--code", "kill -SEGV $$"],
        &["--wall-time", "0.2", "--", "sleep", "10"],
        &["--time", "0.1", "--code", "while :; do :; done"],
        &["--net", "host", "--no-seccomp", "--output-limit", "1K", "--code", "yes"],
        &["--", "no-such-program"],
        &["--chdir", "/no/such/directory", "--", "true"],
    ];
    runs.iter().map(|args| report(&sandbox.rustbox(["run", "--json"].iter().chain(*args)))).collect()
}

#[test]
fn real_reports_are_what_the_published_schema_says() {
    let sandbox = Sandbox::new();
    let schema: Value = serde_json::from_str(&sandbox.rustbox(["schema"]).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let described: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let mut statuses = BTreeSet::new();
    for report in reports(&sandbox) {
        if let Err(error) = validator.validate(&report) {
            panic!("{error} at {}: {report:#}", error.instance_path());
        }
        let written: BTreeSet<&String> = report.as_object().unwrap().keys().collect();
        assert_eq!(written, described, "a field that the schema does not describe, or the other way round");
        assert_eq!(report["containment"]["verdict"], "contained", "{report:#}");
        statuses.insert(report["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), ["IE", "OK", "OLE", "RE", "SIG", "TLE", "XE"]);
}

#[test]
fn exit_codes_are_the_payloads_own_or_the_documented_ones() {
    let sandbox = Sandbox::new();
    for (args, code) in [
        (&["--", "true"][..], 0),
        (&["--code", "exit 7"], 7),
        (&["--code", "kill -TERM $$"], 143),
        (&["--wall-time", "0.1", "--", "sleep", "9"], 124),
        (&["--", "no-such-program"], 127),
        (&["--", "/etc/passwd"], 126),
    ] {
        let said = sandbox.rustbox(["run", "--quiet"].iter().chain(args));
        assert_eq!(said.code, Some(code), "{args:?}: {said:?}");
        assert!(!said.stderr.contains("rustbox:"), "--quiet: {said:?}");
    }
}

#[test]
fn one_line_on_stderr_says_what_happened() {
    let said = Sandbox::new().rustbox(["run", "--code", "sleep 100 & exit 3"]);
    let line = said.stderr.trim_end();
    assert!(line.starts_with("rustbox: RE (exit code 3) in "), "{line}");
    assert!(line.ends_with(", 1 process killed, contained"), "{line}");
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn every_place_that_was_asked_for_gets_the_report() {
    let sandbox = Sandbox::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let fd = writer.as_raw_fd();
    // Pipes of the standard library are closed at exec unless they are told not to be.
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).unwrap();
    let mut command = sandbox.command();
    command.args(["run", "--json=r.json", "--meta", "r.meta", "--status-fd", &fd.to_string(), "--code", "exit 5"]);
    let said: Said = command.output().unwrap().into();
    drop(writer);
    assert_eq!(said.code, Some(5), "{said:?}");
    let json: Value = serde_json::from_str(&std::fs::read_to_string(sandbox.path().join("r.json")).unwrap()).unwrap();
    assert_eq!(json["payload_exit_code"], 5);
    let meta = std::fs::read_to_string(sandbox.path().join("r.meta")).unwrap();
    assert!(meta.contains("exitcode:5\n") && meta.contains("status:RE\n"), "{meta}");
    let mut lines = String::new();
    reader.read_to_string(&mut lines).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events.last(), Some(&"report"));
    let place = |event: &str| events.iter().position(|e| *e == event).unwrap_or_else(|| panic!("{event}: {events:?}"));
    assert!(place("released") < place("started") && place("killing") < place("removed"), "{events:?}");
    assert_eq!(lines.last().unwrap()["report"], json, "the same report everywhere");
    assert_eq!(lines.last().unwrap()["dropped_lines"], 0);
}

/// A killed rustbox leaves a meta file that no judge takes for a result.
#[test]
fn the_meta_file_says_xx_while_the_run_lasts() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command();
    command.args(["run", "--meta", "r.meta", "--code", "echo up; sleep 60"]).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let meta = std::fs::read_to_string(sandbox.path().join("r.meta")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(meta.starts_with("status:XX\n"), "{meta}");
    assert_eq!(std::fs::read_to_string(sandbox.path().join("r.meta")).unwrap(), meta);
}

// D13, D29.
#[test]
fn a_dry_run_tells_the_controls_and_makes_no_box() {
    let sandbox = Sandbox::new();
    for args in [&["--dry-run", "run", "--code", "touch ran"][..], &["run", "--dry-run", "--", "touch", "ran"]] {
        let text = sandbox.rustbox(args);
        assert_eq!(text.code, Some(0), "{text:?}");
        assert!(text.stdout.contains("ok       pid_namespace"), "{text:?}");
    }
    let said = sandbox.rustbox(["--dry-run", "run", "--json", "--", "true"]);
    let controls: Value = serde_json::from_str(&said.stdout).unwrap();
    for field in ["configured_controls", "missing_controls", "mode_decision_reason", "cgroup_backend", "pidfd_mode"] {
        assert!(!controls[field].is_null(), "{field}: {controls:#}");
    }
    assert_eq!(controls["applied_controls"], serde_json::json!([]), "nothing was read back: nothing was run");
    assert!(!sandbox.names().contains(&"ran".to_owned()));
}

// S18, S33 to S36, D39.
#[test]
fn a_box_is_listed_while_it_lives_and_gone_after_the_kill() {
    let sandbox = Sandbox::new();
    let id = format!("cli-{}", std::process::id());
    let mut command = sandbox.command();
    command.args(["run", "--box-id", &id, "--code", "echo up; sleep 60"]).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();

    let roots = sandbox.rustbox(["cgroup-root"]).stdout;
    let procs = format!("{}/rustbox-{id}/cgroup.procs", roots.lines().next().unwrap());
    let members = std::fs::read_to_string(&procs).unwrap();
    let members: BTreeSet<u64> = members.lines().map(|pid| pid.parse().unwrap()).collect();
    let listed: Value = serde_json::from_str(&sandbox.rustbox(["ps", "--json"]).stdout).unwrap();
    let boxes = listed["boxes"].as_array().unwrap();
    let ours = boxes.iter().find(|listed| listed["box_id"] == *id).unwrap_or_else(|| panic!("{listed:#}"));
    let pids = ours["processes"].as_array().unwrap().iter().map(|process| process["pid"].as_u64().unwrap());
    assert_eq!(pids.collect::<BTreeSet<_>>(), members);
    assert_eq!(ours["alive"], true);
    let table = sandbox.rustbox(["ps"]).stdout;
    assert!(table.lines().any(|line| line.starts_with(&id) && line.contains("(rustbox-init)")), "{table}");

    let busy = sandbox.rustbox(["run", "--json", "--box-id", &id, "--", "true"]);
    assert_eq!((busy.code, report(&busy)["cause"].as_str()), (Some(125), Some("box_busy")), "{busy:?}");
    assert!(busy.stderr.contains("--wait-for-box"), "{busy:?}");

    let killed = sandbox.rustbox(["kill", &id]);
    assert_eq!(killed.code, Some(0), "{killed:?}");
    assert!(!std::path::Path::new(&procs).exists(), "kill returned before the box was removed");
    assert_eq!(child.wait().unwrap().code(), Some(137));
    for again in ["kill", "cleanup"] {
        assert_eq!(sandbox.rustbox([again, &id]).code, Some(0), "{again} is idempotent");
    }
    assert_eq!(sandbox.rustbox(["kill", "NOT-AN-ID"]).code, Some(125));
}

// D41, Q09.
#[test]
fn a_user_without_rights_is_refused_and_told_why() {
    assert!(rustix::process::geteuid().is_root(), "this test changes its user, so it needs root");
    let sandbox = Sandbox::new();
    // The binary lies where only root can go: it is started through an open descriptor.
    let binary = std::fs::File::open(env!("CARGO_BIN_EXE_rustbox")).unwrap();
    rustix::io::fcntl_setfd(&binary, rustix::io::FdFlags::empty()).unwrap();
    let as_nobody = |args: &[&str]| -> Said {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
        command.args(args).uid(65_534).gid(65_534).current_dir("/").env_clear();
        command.env("RUSTBOX_STATE_DIR", sandbox.path().join("state")).output().unwrap().into()
    };
    let run = as_nobody(&["run", "--json", "--", "true"]);
    assert_eq!(run.code, Some(122), "{run:?}");
    assert!(run.stderr.contains("as root only"), "{run:?}");
    assert_eq!(report(&run)["cause"], "control_missing");
    for args in [&["ps"][..], &["kill", "some-box"], &["cleanup"]] {
        let said = as_nobody(args);
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert!(said.stderr.contains("without root's rights"), "{said:?}");
    }
    // A worker without a state is healthy to everybody; a state is root's own, and then nothing is claimed.
    assert_eq!(as_nobody(&["health", "--check"]).code, Some(0));
    assert_eq!(sandbox.rustbox(["health", "--quarantine", "--reason", "maintenance"]).code, Some(0));
    let view = as_nobody(&["health"]);
    let shown: Value = serde_json::from_str(&view.stdout).unwrap();
    assert_eq!((view.code, &shown["status"]), (Some(2), &"unknown".into()), "{view:?}");
    assert!(view.stdout.contains("Permission denied"), "{view:?}");
    assert_eq!(as_nobody(&["health", "--check"]).code, Some(2));
    let metrics = as_nobody(&["metrics"]);
    assert_eq!((metrics.code, metrics.stdout.as_str()), (Some(2), ""), "{metrics:?}");
    let doctor = as_nobody(&["doctor"]);
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    assert!(doctor.stdout.contains("FAIL") && doctor.stdout.contains("sudo"), "{doctor:?}");
}

#[test]
fn the_doctor_answers_in_both_forms_alike() {
    let sandbox = Sandbox::new();
    let text = sandbox.rustbox(["doctor"]);
    let json = sandbox.rustbox(["check", "--json"]);
    let json_code = json.code;
    let object: Value = serde_json::from_str(&json.stdout).unwrap();
    let needs = object["needs"].as_array().unwrap();
    assert!(needs.len() > 20);
    for need in needs {
        let name = need["name"].as_str().unwrap();
        assert!(text.stdout.contains(name), "{name}");
        let bad = ["limited", "fail"].contains(&need["verdict"].as_str().unwrap());
        assert!(!bad || need["fix"].is_string(), "what to do about {need}");
    }
    assert_eq!(text.code, json_code);
    assert!(!text.stdout.contains('\u{1b}'), "no colour without a terminal");
}

#[test]
fn bytes_that_are_no_text_reach_the_payload_as_they_are() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    let mut command = sandbox.command();
    command
        .env("OURS", OsStr::from_bytes(b"\xfd"))
        .args(["run", "--quiet", "--env", "OURS", "--env", "NOT_OURS", "--env"]);
    command.arg(OsStr::from_bytes(b"GIVEN=\xfe=")).args(["--", "/bin/sh", "-c"]);
    command.arg("printf '%s|%s|%s|%s' \"$1\" \"$OURS\" \"$GIVEN\" \"${NOT_OURS-unset}\"").arg("sh");
    let output = command.arg(OsStr::from_bytes(b"\xff\x1b")).output().unwrap();
    assert_eq!(output.stdout, b"\xff\x1b|\xfd|\xfe=|unset", "{output:?}");
}

/// The last line is the report also when the payload's own last line has no end.
#[test]
fn the_report_on_stdout_is_a_line_of_its_own() {
    let said = Sandbox::new().rustbox(["run", "--json", "--", "printf", "no end of line"]);
    assert!(said.stdout.starts_with("no end of line\n{"), "{said:?}");
    assert_eq!(report(&said)["status"], "OK");
}

/// A report that was asked for and went nowhere must not look like success.
#[test]
fn a_report_that_cannot_be_delivered_is_our_failure() {
    let sandbox = Sandbox::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = sandbox.command();
    command.args(["run", "--json", "--", "true"]).stdout(writer);
    let said: Said = command.stderr(std::process::Stdio::piped()).output().unwrap().into();
    assert_eq!(said.code, Some(125), "{said:?}");
    assert!(said.stderr.contains("write to standard output: Broken pipe"), "{said:?}");
}

/// The environment and the descriptors of a set-uid program are its caller's.
#[test]
fn a_set_uid_rustbox_does_nothing() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    assert!(rustix::process::geteuid().is_root(), "this test makes a set-uid file, so it needs root");
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("rustbox");
    // Copied by another process: a descriptor open for writing here, inherited by what a test beside this one
    // starts at this moment, would make the exec fail with ETXTBSY.
    let copied =
        std::process::Command::new("cp").args([env!("CARGO_BIN_EXE_rustbox").as_ref(), path.as_os_str()]).status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o4755)).unwrap();
    let binary = std::fs::File::open(&path).unwrap();
    rustix::io::fcntl_setfd(&binary, rustix::io::FdFlags::empty()).unwrap();
    for args in [&["run", "--", "true"][..], &["--help"], &["cleanup", "--all"]] {
        let mut command = std::process::Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
        let said: Said = command.args(args).uid(65_534).gid(65_534).current_dir("/").output().unwrap().into();
        assert_eq!((said.code, said.stdout.as_str()), (Some(125), ""), "{said:?}");
        assert!(said.stderr.contains("set-uid"), "{said:?}");
    }
}

/// What a run prints that is started by `sh -c BEFORE` in the same process.
fn run_after(sandbox: &Sandbox, before: &str, code: &str) -> std::io::Result<Said> {
    let rustbox = sandbox.command();
    let mut command = std::process::Command::new("/bin/sh");
    let script = format!("{before} && exec \"$0\" run --quiet --code \"$1\"");
    command.arg("-c").arg(script).arg(rustbox.get_program()).arg(code).current_dir(sandbox.path());
    for (name, value) in rustbox.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        command.env(name, value);
    }
    command.output().map(Said::from)
}

// Fields 19 and 41 of `stat`: nice and policy (proc_pid_stat(5)).
const PLACE: &str = "cut -d' ' -f19,41 /proc/self/stat; grep -E 'nice priority|realtime priority' /proc/self/limits | tr -s ' '; \
                     cat /proc/self/oom_score_adj";
const LIMITS: &str = "Max nice priority 0 0 \nMax realtime priority 0 0 \n";

#[test]
fn a_box_has_no_place_before_others_although_its_supervisor_has() {
    if !crate::batch::is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let ordinary = run_after(&sandbox, ":", PLACE).unwrap();
    assert_eq!(ordinary.stdout, format!("0 0\n{LIMITS}0\n"), "{ordinary:?}");
    let before = [
        "renice -n -5 $$ >&2",
        "chrt -r -p 3 $$",
        "prlimit --pid $$ --rtprio=5",
        "prlimit --pid $$ --nice=25",
        "echo -500 > /proc/$$/oom_score_adj",
    ];
    for before in before {
        // Not everybody may: a service manager may.
        let may = std::process::Command::new("/bin/sh").args(["-c", before]).output().unwrap().status.success();
        if !may {
            eprintln!("SKIP: {before}");
            continue;
        }
        let said = run_after(&sandbox, before, PLACE).unwrap();
        assert_eq!(said.stdout, ordinary.stdout, "{before}: {said:?}");
    }
    // What puts it behind them stays.
    let behind = run_after(&sandbox, "renice -n 7 $$ >&2 && echo 300 > /proc/$$/oom_score_adj", PLACE).unwrap();
    assert_eq!(behind.stdout, format!("7 0\n{LIMITS}300\n"), "{behind:?}");
}

// The file position is the program's as well: wherever it leaves it, the report is the last line.
#[test]
fn a_program_cannot_write_the_last_line_of_a_file_that_it_shares() {
    if !crate::batch::is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let forge = r#"import os; os.write(1, b"\n" * 65536 + b'{"status":"OK"}\n'); os.write(2, b"\n" * 65536 + b"rustbox: OK\n"); [os.lseek(fd, 0, 0) for fd in (1, 2)]; os._exit(7)"#;
    let mut command = sandbox.command();
    let open = |name: &str| std::fs::File::create(sandbox.path().join(name)).unwrap();
    command.args(["run", "--json", "--", "python3", "-c", forge]).stdout(open("out")).stderr(open("err"));
    assert_eq!(command.status().unwrap().code(), Some(7));
    let last = |name: &str| {
        let text = std::fs::read_to_string(sandbox.path().join(name)).unwrap();
        text.lines().next_back().unwrap_or_default().to_owned()
    };
    let found: Value = serde_json::from_str(&last("out")).unwrap();
    assert_eq!(found["payload_exit_code"], 7, "{found}");
    assert!(last("err").contains("exit code 7"), "{}", last("err"));
}

/// The record of a dead box, with nobody's lock on it.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn dead_record(sandbox: &Sandbox, id: &str) -> std::path::PathBuf {
    let directory = sandbox.path().join("state/boxes").join(id);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("lock"), "").unwrap();
    directory
}

// What a box left, and is kept for somebody to look at, is no other run's to remove, although it asks for the same name.
#[test]
fn a_run_does_not_take_the_name_of_a_box_that_is_kept() {
    if !crate::batch::is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.rustbox(["run", "--", "true"]).code, Some(0));
    let id = format!("kept{}", std::process::id());
    let run = |id: &str| sandbox.rustbox(["run", "--box-id", id, "--", "true"]);
    let directory = dead_record(&sandbox, &id);
    std::fs::write(directory.join("kept"), "a test").unwrap();
    let said = run(&id);
    assert_eq!(said.code, Some(125), "{said:?}");
    assert!(said.stderr.contains(&format!("rustbox cleanup {id}")), "{said:?}");
    assert!(directory.join("kept").exists());
    assert_eq!(sandbox.rustbox(["cleanup", &id]).code, Some(0));
    assert_eq!(run(&id).code, Some(0));
    // The control: of a dead box that is not kept the name can be had.
    dead_record(&sandbox, &id);
    assert_eq!(run(&id).code, Some(0));
}

// A dead box that cannot be removed costs one run the attempt, and not every run.
#[test]
fn a_dead_box_that_cannot_be_removed_is_tried_once() {
    if !crate::batch::is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.rustbox(["run", "--", "true"]).code, Some(0));
    let id = format!("stays{}", std::process::id());
    let directory = dead_record(&sandbox, &id);
    // Somebody else's directories in its cgroup, deeper than a removal goes.
    let Some(pids) = std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().find_map(|line| {
        let is_pids = line.contains(" - cgroup ") && line.ends_with("pids");
        line.split(' ').nth(4).filter(|_| is_pids).map(std::path::PathBuf::from)
    }) else {
        eprintln!("SKIP: no v1 hierarchy");
        return;
    };
    let cgroup = pids.join(format!("rustbox-{id}"));
    let deep = (0..40).fold(cgroup.clone(), |path, _| path.join("d"));
    std::fs::create_dir_all(&deep).unwrap();
    let first = sandbox.rustbox(["run", "--", "true"]);
    let (is_kept, is_there) = (directory.join("kept").exists(), cgroup.exists());
    let second = sandbox.rustbox(["run", "--", "true"]);
    for path in deep.ancestors().take_while(|path| path.starts_with(&cgroup)) {
        std::fs::remove_dir(path).unwrap();
    }
    let cleaned = sandbox.rustbox(["cleanup", &id]);
    assert!(is_there && is_kept, "{first:?}");
    assert!(first.stderr.contains(&id) && !second.stderr.contains(&id), "{first:?} {second:?}");
    assert_eq!((first.code, second.code, cleaned.code), (Some(0), Some(0), Some(0)), "{cleaned:?}");
}

// Nobody would notice a time limit at a FIFO, and no signal would end it.
#[test]
fn a_fifo_is_not_waited_for() {
    let sandbox = Sandbox::new();
    sandbox.fifo("fifo");
    let said = sandbox.rustbox(["run", "--stdin", "fifo", "--", "cat"]);
    assert_eq!(said.code, Some(125), "{said:?}");
    assert!(said.stderr.contains("--stdin") && said.stderr.contains("< FIFO"), "{said:?}");
    // The control: a file is read, and not in pieces that its reader does not expect.
    sandbox.file("file", "text");
    assert_eq!(sandbox.rustbox(["run", "--quiet", "--stdin", "file", "--", "cat"]).stdout, "text");
}
