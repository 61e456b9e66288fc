//! The incident as one HTML file that needs no other.

use std::fmt::Write;

use super::Incident;
use super::picture::{timeline, tree};

/// No script, no image, no style from elsewhere: whatever slipped through would still not run.
const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
    <title>rustbox incident report</title>\n<style>\n\
    body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}\n\
    code{font:13px ui-monospace,monospace;background:#f2f2f2;padding:.1em .3em;overflow-wrap:anywhere}\n\
    dt{font-weight:600}dd{margin:0 0 .3rem 1rem}article{border-top:3px solid #b00020;margin-top:2rem}\n\
    svg{max-width:100%;height:auto}svg text{font:12px ui-monospace,monospace;fill:#1b1b1b}\n\
    @media(prefers-color-scheme:dark){body{background:#161616;color:#e8e8e8}code{background:#2a2a2a}svg text{fill:#e8e8e8}}\n\
    </style>\n</head>\n<body>\n";

impl Incident<'_> {
    /// The report as one self-contained HTML file, with each process tree as a picture and a timeline.
    #[must_use]
    pub fn html(&self) -> String {
        let report = self.report;
        let mut out = HEAD.to_owned();
        put(&mut out, &format!("<h1>Incident report: {} finding(s)</h1>\n", report.findings.len()));
        let verdict = format!("{:?}", report.verdict);
        put(
            &mut out,
            &format!(
                "<p>Audited from {} to {}. Verdict: <strong>{}</strong>.</p>\n",
                code(&report.started_at),
                code(&report.ended_at),
                escape(&verdict)
            ),
        );
        put(&mut out, &timeline(report));
        for finding in &report.findings {
            put(&mut out, &format!("<article>\n<h2>{}</h2>\n<p>{}</p>\n", finding.kind, escape(&finding.what)));
            put(&mut out, &format!("<p>Runbook: {}. Escalate: {}.</p>\n", code(&finding.runbook), finding.escalate));
            put(&mut out, &tree(finding));
            for section in self.sections(finding) {
                put(&mut out, &format!("<h3>{}</h3>\n<dl>\n", section.heading));
                for (name, value) in section.facts {
                    put(&mut out, &format!("<dt>{name}</dt><dd>{}</dd>\n", code(&value)));
                }
                put(&mut out, "</dl>\n");
            }
            put(&mut out, "</article>\n");
        }
        put(&mut out, "</body>\n</html>\n");
        out
    }
}

fn put(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = out.write_str(text);
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

/// Text that is no markup in an element or in an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}
