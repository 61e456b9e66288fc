//! A worker's health as a tired operator reads it: state, since when, why, what to type next.

use anstyle::{AnsiColor, Style};

use super::object::{Health, UNKNOWN};
use crate::render::escape_text;

/// The page, with styles.
pub(super) fn page(health: &Health) -> String {
    let style = match health.status {
        "healthy" => AnsiColor::Green.on_default().bold(),
        "unhealthy" => AnsiColor::Yellow.on_default().bold(),
        "quarantined" => AnsiColor::Red.on_default().bold(),
        _ => AnsiColor::Magenta.on_default().bold(),
    };
    let mut lines = vec![format!("{style}{}{style:#}  {}", health.status.to_uppercase(), headline(health))];
    let mut row = |name: &str, value: &str| {
        let dim = Style::new().dimmed();
        lines.push(format!("{dim}{name:<12}{dim:#}{}", escape_text(value)));
    };
    let mut known = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            row(name, value);
        }
    };
    known("since", health.quarantine_timestamp.as_ref());
    known("why", health.quarantine_reason.as_ref());
    known("seen", health.quarantine_detail.as_ref());
    known("by", health.quarantine_by.as_ref());
    known("stopped", health.stopped_since.as_ref());
    known("short of", health.shortage.as_ref());
    for complaint in &health.complaints {
        row("look at", &format!("{} since {}: {}", complaint.kind, complaint.since, complaint.detail));
    }
    if let Some(count) = health.failed_cleanup_count.filter(|count| *count > 0) {
        let last = health.last_cleanup_error.as_deref().unwrap_or("not known");
        row("cleanups", &format!("{count} failed in a row, 3 quarantine; the last one: {last}"));
    }
    if let Some(count) = health.failed_recovery_count.filter(|count| *count > 0) {
        row("recoveries", &format!("{count} failed in a row"));
    }
    if let Some(count) = health.recurrence.filter(|count| *count > 0) {
        let call = if health.escalate == Some(true) { ": call somebody now" } else { "" };
        row("violations", &format!("{count} since the last review{call}"));
    }
    // A state that could not be read, or is damaged, says nothing of audits either.
    if health.recurrence.is_some() {
        let last = health.last_clean_audit.as_ref();
        row("audit", &last.map_or("none was clean yet".to_owned(), |at| format!("clean at {at}")));
    }
    for unseen in &health.unseen {
        row("not seen", unseen);
    }
    if let Some(next) = &health.next {
        let bold = Style::new().bold();
        lines.push(format!("{bold}{:<12}{}{bold:#}", "next", escape_text(next)));
    }
    lines.join("\n") + "\n"
}

fn headline(health: &Health) -> &'static str {
    match (health.status, health.can_accept_submissions) {
        (UNKNOWN, _) | (_, None) => "whether runs are admitted cannot be told",
        (_, Some(true)) => "runs are admitted",
        (_, Some(false)) => "runs are refused with exit code 120",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustbox_health::{Event, Moment, WorkerState, step};

    fn worker(event: &Event) -> WorkerState {
        let now = Moment { wall: "2026-01-02T03:04:05.000Z".into(), boot_id: "b".into(), boottime_ms: 1 };
        step(&WorkerState::default(), event, &now, "rustbox run, uid 0").0
    }

    fn text(health: &Health) -> String {
        anstream::adapter::strip_str(&page(health)).to_string()
    }

    #[test]
    fn a_page_says_state_since_when_why_and_what_to_type() {
        let dir = std::path::Path::new("/var/lib/rustbox");
        let quarantined = worker(&Event::Quarantine { reason: "orphan_process_detected\u{1b}[2J".into() });
        let stopped = worker(&Event::Stopped);
        let mut unread = Health::unknown(dir, "open /var/lib/rustbox: Permission denied".to_owned());
        // It depends on who asks.
        unread.next = None;
        let pages = [
            Health::known(dir, &WorkerState::default()),
            Health::known(dir, &quarantined),
            Health::known(dir, &stopped),
            Health::damaged(dir, "state.json is torn".to_owned()),
            unread,
        ];
        insta::assert_snapshot!(pages.iter().map(text).collect::<Vec<_>>().join("--\n"));
    }
}
