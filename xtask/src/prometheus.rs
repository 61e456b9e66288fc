//! Rules, dashboard and metrics, as Prometheus reads them.

mod live;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use crate::{apt, command, packaging};

/// Prometheus and its tool.
#[derive(Debug)]
struct Tools {
    promtool: PathBuf,
    prometheus: PathBuf,
}

/// An expression, and what it must be answered with.
#[derive(Debug)]
struct Asked {
    expression: String,
    answer: Answer,
}

/// What an expression must be answered with, besides being accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// At least one series.
    Series,
    /// That, or none.
    Any,
}

/// Rules, their tests, what the program exports, and what the dashboard asks for, by Prometheus's own tool.
pub(crate) fn check(workspace: &Workspace, prefix: &Path) -> Result<()> {
    let tools = Tools::find(workspace)?;
    let promtool = &tools.promtool;
    let installed = prefix.join("share/rustbox/prometheus");
    command::run(Command::new(promtool).args(["check", "rules"]).arg(installed.join("rustbox.rules.yml")))?;
    let mut tests = Command::new(promtool);
    tests.args(["test", "rules", "rustbox.rules.test.yml"]).current_dir(&installed);
    command::run(&mut tests)?;
    every_alert_has_both_cases(&installed)?;
    let state = workspace.target.join("packaging/state");
    let mut metrics = Command::new(prefix.join("bin/rustbox"));
    let metrics = command::output(metrics.arg("--state-dir").arg(&state).arg("metrics"))?;
    let mut lint = Command::new(promtool);
    let mut lint = lint.args(["check", "metrics"]).stdin(Stdio::piped()).spawn().context("start promtool")?;
    let mut input = lint.stdin.take().context("promtool's input")?;
    std::io::Write::write_all(&mut input, metrics.as_bytes()).context("write to promtool")?;
    drop(input);
    let status = lint.wait().context("wait for promtool")?;
    if !status.success() {
        bail!("promtool check metrics: {status}");
    }
    let expressions = dashboard(promtool, prefix, &metrics)?;
    let mut asked = Vec::new();
    for expression in &expressions {
        asked.push(Asked { expression: resolved(expression), answer: Answer::Series });
    }
    for expression in rules(&installed)? {
        asked.push(Asked { expression, answer: Answer::Any });
    }
    live::ask(&tools, &prefix.join("bin/rustbox"), &workspace.target.join("packaging/live"), &asked)
}

/// The expressions of the alerts; Prometheus answers them with nothing where all is well.
fn rules(directory: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(directory.join("rustbox.rules.yml")).context("read rustbox.rules.yml")?;
    let rules: Vec<_> = text.lines().filter_map(|line| Some(line.trim().strip_prefix("expr: ")?.to_owned())).collect();
    if rules.is_empty() { bail!("no alert has an expression") } else { Ok(rules) }
}

/// A rule that never fires passes a test of its silence; one that always fires passes the other.
fn every_alert_has_both_cases(directory: &Path) -> Result<()> {
    let read = |name: &str| fs::read_to_string(directory.join(name)).with_context(|| format!("read {name}"));
    let (rules, tests) = (read("rustbox.rules.yml")?, read("rustbox.rules.test.yml")?);
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    for alert in &alerts {
        let cases: Vec<&str> = tests.split("- alertname: ").skip(1).filter(|case| case.starts_with(alert)).collect();
        let silent = cases.iter().filter(|case| case.contains("exp_alerts: []")).count();
        if silent == 0 || silent == cases.len() {
            bail!("{alert}: {} cases, and {silent} of them are silent", cases.len());
        }
        let rule = rules.split("- alert: ").find(|rule| rule.starts_with(alert)).unwrap_or_default();
        for part in ["severity:", "runbook_url:"] {
            if !rule.contains(part) {
                bail!("{alert} has no {part}");
            }
        }
    }
    println!("{} alerts have a case that fires and one that does not, a severity and a runbook", alerts.len());
    Ok(())
}

/// Every expression of the dashboard is parsed by Prometheus's parser, and asks for series that the program exports.
fn dashboard(promtool: &Path, prefix: &Path, metrics: &str) -> Result<Vec<String>> {
    let path = prefix.join(packaging::DASHBOARD);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let dashboard: serde_json::Value = serde_json::from_str(&text).context("parse the dashboard")?;
    let mut expressions = Vec::new();
    collect(&dashboard, &mut expressions);
    let exported: Vec<&str> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    // promtool 2.42 has no parser of its own; rules are parsed by the same one as queries.
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (number, expression) in expressions.iter().enumerate() {
        let asked = resolved(expression);
        rules.push_str(&format!("  - record: dashboard:{number}\n    expr: '{}'\n", asked.replace('\'', "''")));
        for name in names(expression) {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            if !exported.contains(&family) && !exported.contains(&name) {
                bail!("the dashboard asks for {name}, which is not exported: {expression}");
            }
        }
    }
    let file = prefix.join("dashboard.rules.yml");
    fs::write(&file, rules).with_context(|| format!("write {}", file.display()))?;
    command::run(Command::new(promtool).args(["check", "rules"]).arg(&file))?;
    println!("{} expressions of the dashboard are parsed, each of exported series", expressions.len());
    if expressions.len() < 20 { bail!("only {} expressions were found", expressions.len()) } else { Ok(expressions) }
}

/// As Grafana sends it when every worker is chosen.
fn resolved(expression: &str) -> String {
    expression.replace("$instance", ".*")
}

/// The names of our metrics in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("rustbox_"))
}

fn collect(value: &serde_json::Value, found: &mut Vec<String>) {
    if let Some(object) = value.as_object() {
        found.extend(object.get("expr").and_then(|expr| expr.as_str()).map(str::to_owned));
        object.values().for_each(|value| collect(value, found));
    }
    value.as_array().into_iter().flatten().for_each(|value| collect(value, found));
}

impl Tools {
    /// Installed, or unpacked from Debian's package: its dependencies are a web page's, and not needed.
    fn find(workspace: &Workspace) -> Result<Self> {
        if ["promtool", "prometheus"].into_iter().all(command::is_in_path) {
            return Ok(Self { promtool: "promtool".into(), prometheus: "prometheus".into() });
        }
        let directory = workspace.target.join("promtool");
        let programs = directory.join("unpacked/usr/bin");
        let tools = Self { promtool: programs.join("promtool"), prometheus: programs.join("prometheus") };
        if !tools.promtool.exists() || !tools.prometheus.exists() {
            apt::Source::ours().unpack("prometheus", &directory)?;
        }
        Ok(tools)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_metrics_are_found_in_an_expression() {
        let found: Vec<_> = names("sum by (le) (rate(rustbox_a_bucket{x=~\"rust\"}[5m])) + rustbox_b").collect();
        assert_eq!(found, ["rustbox_a_bucket", "rustbox_b"]);
    }
}
