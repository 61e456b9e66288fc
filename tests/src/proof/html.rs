//! The report as one HTML file: a matrix of attacks by host, each cell of which opens its evidence.
//!
//! There is no script in it and none may run (a content security policy says so): what it shows is text, and whatever a
//! payload printed is escaped on its way in.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::part::Part;
use super::report::{Attack, HostRun, Outcome, Proof};
use super::run::tell_part;

/// Colours that can be told apart without seeing colour, since each cell also has its word.
const STYLE: &str = "
:root { color-scheme: light dark; --line: #8886; --good: #1a7f37; --bad: #cf222e; --open: #9a6700; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem; }
h1 { margin-bottom: 0; } h1 small { font-weight: normal; font-size: 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
thead th { position: sticky; top: 0; background: Canvas; }
tbody th { font-weight: normal; } tr.family th { font-weight: bold; background: #8882; }
code, pre { font: 13px/1.4 ui-monospace, monospace; } pre { margin: .2rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; } .held > summary { color: var(--good); } .failed > summary { color: var(--bad); font-weight: bold; }
.not_proved > summary { color: var(--open); font-weight: bold; } .skipped > summary { opacity: .7; }
.proved { color: var(--good); } .unproved { color: var(--bad); } dl { margin: .4rem 0; } dt { font-weight: bold; } dd { margin: 0 0 .3rem 1rem; }
";

/// The whole page.
#[must_use]
pub fn html(proof: &Proof) -> String {
    let mut page = String::new();
    let (class, word) = if proof.proved { ("proved", "proved") } else { ("unproved", "NOT PROVED") };
    put(&mut page, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    put(&mut page, &format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">"));
    put(&mut page, "<meta name=\"viewport\" content=\"width=device-width\"><title>rustbox: containment proof</title>");
    put(&mut page, &format!("<style>{STYLE}</style></head><body>"));
    put(&mut page, &format!("<h1>Containment proof: <span id=\"verdict\" class=\"{class}\">{word}</span></h1>"));
    let Proof { version, commit, mode, .. } = proof;
    put(
        &mut page,
        &format!("<p>rustbox {}, commit <code>{}</code>, {} mode</p>", esc(version), esc(commit), esc(mode)),
    );
    objections(&mut page, proof);
    hosts(&mut page, proof);
    matrix(&mut page, proof);
    parts(&mut page, proof);
    put(&mut page, "</body></html>");
    page
}

fn objections(page: &mut String, proof: &Proof) {
    if proof.objections.is_empty() {
        return;
    }
    put(page, "<h2>Why not</h2><ul id=\"objections\">");
    proof.objections.iter().for_each(|why| put(page, &format!("<li>{}</li>", esc(why))));
    put(page, "</ul>");
}

fn hosts(page: &mut String, proof: &Proof) {
    put(
        page,
        "<h2>Hosts</h2><table id=\"hosts\"><thead><tr><th>target</th><th>shape</th><th>Linux</th><th>attacks</th><th>held</th>",
    );
    put(
        page,
        "<th>failed</th><th>not proved</th><th>skipped</th><th>attempts</th><th>seconds</th><th>host before and after</th></tr></thead><tbody>",
    );
    for run in &proof.runs {
        let count = |outcome| run.count(outcome);
        let compared: Vec<_> = run.host.compared.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let cells = [
            esc(&run.target),
            esc(&run.shape),
            esc(&run.kernel),
            run.attacks.len().to_string(),
            count(Outcome::Held).to_string(),
            count(Outcome::Failed).to_string(),
            count(Outcome::NotProved).to_string(),
            count(Outcome::Skipped).to_string(),
            run.attempts().to_string(),
            format!("{:.0}", run.seconds),
            format!("{} differences among {}", run.host.differences.len(), esc(&compared.join(", "))),
        ];
        put(page, &format!("<tr><td>{}</td></tr>", cells.join("</td><td>")));
    }
    put(page, "</tbody></table>");
    let parity = &proof.parity;
    if parity.compared > 0 {
        let differ = parity.differences.len();
        put(
            page,
            &format!(
                "<p id=\"parity\">{} attacks were made on more than one shape; the verdicts of {differ} differ.</p>",
                parity.compared
            ),
        );
    }
}

fn matrix(page: &mut String, proof: &Proof) {
    put(page, "<h2>Attacks</h2><table id=\"matrix\"><thead><tr><th>attack</th>");
    for run in &proof.runs {
        put(page, &format!("<th>{}<br>{}</th>", esc(&run.target), esc(&run.shape)));
    }
    put(page, "</tr></thead><tbody>");
    // In the order of the first run that has it, which is the table's.
    let mut rows: Vec<&Attack> = Vec::new();
    for attack in proof.runs.iter().flat_map(|run| &run.attacks) {
        if rows.iter().all(|row| row.name != attack.name) {
            rows.push(attack);
        }
    }
    rows.sort_by_key(|attack| attack.family);
    let columns: Vec<BTreeMap<&str, &Attack>> = proof
        .runs
        .iter()
        .map(|run| run.attacks.iter().map(|attack| (attack.name.as_str(), attack)).collect())
        .collect();
    let mut family = None;
    for row in rows {
        if family != Some(row.family) {
            family = Some(row.family);
            let width = columns.len() + 1;
            put(page, &format!("<tr class=\"family\"><th colspan=\"{width}\">{}</th></tr>", row.family.title()));
        }
        put(page, &format!("<tr><th><code>{}</code><br>{}</th>", esc(&row.name), esc(&row.barrier)));
        for column in &columns {
            put(page, "<td>");
            match column.get(row.name.as_str()) {
                Some(attack) => cell(page, attack),
                None => put(page, "-"),
            }
            put(page, "</td>");
        }
        put(page, "</tr>");
    }
    put(page, "</tbody></table>");
}

fn cell(page: &mut String, attack: &Attack) {
    let class = match attack.outcome {
        Outcome::Held => "held",
        Outcome::Failed => "failed",
        Outcome::NotProved => "not_proved",
        Outcome::Skipped => "skipped",
    };
    let summary = format!("{} · {}", attack.outcome.word(), attack.verdict);
    put(page, &format!("<details class=\"{class}\"><summary>{}</summary><dl>", esc(&summary)));
    let one = |text: &String| vec![text.clone()];
    let rows: [(&str, Vec<String>); 9] = [
        ("command", one(&attack.command)),
        ("asked for", attack.expected.clone()),
        ("measured", attack.seen.clone()),
        ("the payload said", attack.output.clone()),
        ("objections", attack.objections.clone()),
        ("control", one(&attack.control)),
        ("seen in the control", attack.control_seen.clone()),
        ("objections to the control", attack.control_objections.clone()),
        ("proves, and regression for", vec![attack.requirements.join(", "), attack.history.join(", ")]),
    ];
    for (title, lines) in rows {
        if lines.iter().any(|line| !line.is_empty()) {
            put(page, &format!("<dt>{title}</dt><dd><pre>{}</pre></dd>", esc(lines.join("\n").trim())));
        }
    }
    put(page, "</dl></details>");
}

fn parts(page: &mut String, proof: &Proof) {
    let parts: Vec<(&HostRun, &Part)> =
        proof.runs.iter().flat_map(|run| run.parts.iter().map(move |p| (run, p))).collect();
    if parts.is_empty() {
        return;
    }
    put(
        page,
        "<h2>Sweeps, races, models</h2><table id=\"parts\"><thead><tr><th>part</th><th>on</th><th>claim</th><th>result</th>",
    );
    put(page, "<th>not done</th><th>figures</th></tr></thead><tbody>");
    for (run, part) in parts {
        let skipped: Vec<_> = part.skipped.iter().map(|s| format!("{}: {}", s.what, s.why)).collect();
        let figures: Vec<_> = part.figures.iter().map(|(name, figure)| format!("{name}: {figure}")).collect();
        let result = [vec![tell_part(part)], part.objections()].concat().join("; ");
        let cells = [&part.name, &run.shape, &part.claim, &result, &skipped.join("; "), &figures.join("; ")]
            .map(|text| esc(text));
        put(page, &format!("<tr><td>{}</td></tr>", cells.join("</td><td>")));
    }
    put(page, "</tbody></table>");
}

fn put(page: &mut String, text: &str) {
    let _infallible = writeln!(page, "{text}");
}

/// Text that is text in HTML, in an element and in an attribute.
fn esc(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // What turns the direction of text, or is no character at all, cannot be read as what it is.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => safe.push('\u{fffd}'),
            c if c.is_control() && c != '\n' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_payload_prints_is_text() {
        assert_eq!(esc("<script>\"'&\u{1b}[0m\u{202e}"), "&lt;script&gt;&quot;&#39;&amp;\u{fffd}[0m\u{fffd}");
    }
}
