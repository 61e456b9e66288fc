//! The incident report, from fixed data, with a payload that tries to write it.

#![expect(clippy::unwrap_used, reason = "fixed data of a test")]

use rustbox_audit::{Action, ActionOutcome, ActionResult, AuditReport, Incident, Verdict};
use rustbox_core::{Finding, FindingKind, ProcessKey, RootCause};

const HOSTILE: [&str; 6] = [
    "</code></dd><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'; alert(1); '",
    "`` ` ``` # heading\n- item",
    "&lt;b&gt;",
    "</svg><style>*{display:none}</style>",
];

fn report(text: &str) -> AuditReport {
    let key = |pid| ProcessKey { pid, starttime_ticks: u64::from(pid) };
    let mut finding = Finding::new(FindingKind::OrphanDetected, format!("process 9 {text}"));
    finding.box_id = "b7".parse().ok();
    finding.process = Some(key(9));
    finding.ppid = Some(8);
    finding.parent_comm = Some(text.to_owned());
    finding.comm = Some(text.to_owned());
    finding.argv = vec![text.to_owned()];
    finding.exe = Some(text.to_owned());
    finding.exe_sha256 = Some("e3b0".to_owned());
    finding.cgroup = vec![format!("0::/{text}")];
    finding.ancestry_now = vec![key(8), key(7), key(1)];
    finding.ancestry_recorded = vec![key(7), key(8)];
    finding.box_notes = vec![text.to_owned()];
    finding.first_seen = "2026-11-24T04:00:00.000Z".to_owned();
    finding.last_seen = "2026-11-24T04:00:00.100Z".to_owned();
    finding.root_cause = Some(RootCause::CgroupMigration);
    let action = Action::End { box_id: "b7".parse().unwrap(), process: key(9) };
    let result = ActionResult { action, outcome: ActionOutcome::Done, detail: text.to_owned() };
    AuditReport {
        schema: AuditReport::SCHEMA.to_owned(),
        verdict: Verdict::Clean,
        exit_code: 0,
        started_at: "2026-11-24T03:59:59.000Z".to_owned(),
        ended_at: "2026-11-24T04:00:01.000Z".to_owned(),
        duration_ns: 2,
        kernel: "6.18".to_owned(),
        pid_namespace: 1,
        looks: 2,
        boxes: 1,
        processes_listed: 10,
        processes_marked: 2,
        processes_vanished: 0,
        findings: vec![finding],
        actions: Some(vec![result]),
        remaining: Some(vec![]),
        escalate: true,
    }
}

// S70: exactly these headings.
const HEADINGS: [&str; 7] = [
    "Timestamp of detection",
    "Orphan PID and ancestry",
    "Cgroup state at detection",
    "Namespace state at detection",
    "Payload characteristics",
    "Recovery actions taken",
    "Root cause",
];

#[test]
fn the_report_has_the_headings_of_the_runbook() {
    let report = report("x");
    let incident = Incident::new(&report);
    let markdown = incident.markdown();
    let found: Vec<&str> = markdown.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(found, HEADINGS);
    let html = incident.html();
    let found: Vec<&str> = html.lines().filter_map(|line| line.strip_prefix("<h3>")?.strip_suffix("</h3>")).collect();
    assert_eq!(found, HEADINGS);
    for fact in ["e3b0", "cgroup migration", "end process 9", "2026-11-24T04:00:00.000Z"] {
        assert!(markdown.contains(fact) && html.contains(fact), "{fact}");
    }
}

/// Names of the elements of a document, opening and closing.
fn elements(html: &str) -> Vec<&str> {
    let name =
        |tag: &str| tag.find(|c: char| !(c.is_ascii_alphanumeric() || c == '/' || c == '!')).unwrap_or(tag.len());
    html.split('<').skip(1).map(|tag| &tag[..name(tag)]).collect()
}

#[test]
fn a_payload_adds_no_element_to_the_page() {
    let harmless = report("x");
    let harmless = Incident::new(&harmless).html();
    for text in HOSTILE {
        let hostile = report(text);
        let html = Incident::new(&hostile).html();
        assert_eq!(elements(&html), elements(&harmless), "{text}");
        // What is between the quotes of every attribute is ours: no quote of the payload is left one.
        assert_eq!(html.matches('"').count(), harmless.matches('"').count(), "{text}");
        assert!(!html.contains("http://") && !html.contains("https://"), "the page needs nothing from elsewhere");
    }
}

#[test]
fn a_payload_adds_no_line_to_the_markdown() {
    let harmless = report("x");
    let lines = Incident::new(&harmless).markdown().lines().count();
    for text in HOSTILE {
        let hostile = report(text);
        let markdown = Incident::new(&hostile).markdown();
        assert_eq!(markdown.lines().count(), lines, "{text}");
        assert!(markdown.lines().all(|line| !line.starts_with("# heading") && !line.starts_with("- item")));
    }
}
