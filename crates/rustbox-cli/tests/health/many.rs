//! Many processes at once, some of them killed.

use std::process::{Child, Stdio};

use crate::sandbox::Sandbox;

const MANY: usize = 64;

fn total(sandbox: &Sandbox, series: &str) -> usize {
    let text = sandbox.rustbox(["metrics"]).stdout;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} in\n{text}")).parse().unwrap()
}

fn start(sandbox: &Sandbox, args: &[&str]) -> Child {
    sandbox.command().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

// Counters survive process ends and concurrent writers: whoever returned was counted, whoever was killed was counted once at most.
#[test]
fn runs_at_once_lose_no_count_although_some_are_killed() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let mut runs: Vec<Child> = (0..MANY).map(|_| start(&sandbox, &["run", "--quiet", "--", "true"])).collect();
    for victim in runs.iter_mut().step_by(4) {
        // It may have ended already; then it was counted.
        let _ = victim.kill();
    }
    let ended: Vec<_> = runs.iter_mut().map(|run| run.wait().expect("a child")).collect();
    let returned = ended.iter().filter(|status| status.code() == Some(0)).count();
    let killed = ended.iter().filter(|status| status.code().is_none()).count();
    assert_eq!(returned + killed, MANY, "{ended:?}");
    let counted = total(&sandbox, "rustbox_executions_total");
    assert!((returned..=MANY).contains(&counted), "{returned} returned, {killed} were killed, {counted} are counted");
    assert_eq!(counted, total(&sandbox, "rustbox_executions_by_status{status=\"OK\"}"));
    assert_eq!(total(&sandbox, "rustbox_counters_lost_lines"), 0);
    let said = sandbox.rustbox(["health", "--recover"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn quarantines_at_once_are_all_in_the_history_although_some_are_killed() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let reason = |number: usize| format!("reason-{number}");
    let mut writers: Vec<Child> =
        (0..MANY).map(|number| start(&sandbox, &["health", "--quarantine", "--reason", &reason(number)])).collect();
    for victim in writers.iter_mut().step_by(4) {
        let _ = victim.kill();
    }
    let ended: Vec<_> = writers.iter_mut().map(|writer| writer.wait().expect("a child")).collect();
    // The next writer appends what a killed one could not.
    assert_eq!(sandbox.rustbox(["health", "--quarantine", "--reason", "the-last"]).code, Some(0));
    let history = std::fs::read_to_string(sandbox.path().join("state/health/quarantine-history.json")).unwrap();
    let entries: Vec<serde_json::Value> = history.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for (number, status) in ended.iter().enumerate() {
        let times = entries.iter().filter(|entry| entry["reason"] == reason(number)).count();
        assert!(times <= 1, "{number} is there {times} times");
        assert!(times == 1 || !status.success(), "{number} returned and is not there");
    }
    let generations: Vec<u64> = entries.iter().map(|entry| entry["generation"].as_u64().unwrap()).collect();
    assert!(generations.is_sorted_by(|a, b| a < b), "{generations:?}");
    assert_eq!(sandbox.rustbox(["health"]).stdout.matches("\"quarantined\"").count(), 1);
}
