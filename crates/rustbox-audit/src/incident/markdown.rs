//! The incident in Markdown.

use std::fmt::Write;

use super::Incident;

impl Incident<'_> {
    /// The report in Markdown. Every value is a code span, which no renderer reads as markup.
    #[must_use]
    pub fn markdown(&self) -> String {
        let report = self.report;
        let mut out = format!("# Incident report: {} finding(s)\n\n", report.findings.len());
        let verdict = format!("{:?}", report.verdict);
        let head = [("audited", &report.started_at), ("until", &report.ended_at), ("verdict", &verdict)];
        for (name, value) in head {
            line(&mut out, name, value);
        }
        for (number, finding) in report.findings.iter().enumerate() {
            put(&mut out, &format!("\n## {}. {}\n\n{}\n", number + 1, finding.kind, code(&finding.what)));
            put(&mut out, &format!("\nRunbook: {}. Escalate: {}.\n", code(&finding.runbook), finding.escalate));
            for section in self.sections(finding) {
                put(&mut out, &format!("\n### {}\n\n", section.heading));
                for (name, value) in section.facts {
                    line(&mut out, name, &value);
                }
            }
        }
        out
    }
}

fn put(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = out.write_str(text);
}

fn line(out: &mut String, name: &str, value: &str) {
    put(out, &format!("- {name}: {}\n", code(value)));
}

/// A code span: its fence is longer than any run of backticks inside, and it has no line end.
fn code(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    if text.is_empty() { "-".to_owned() } else { format!("{fence} {text} {fence}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_code_span() {
        assert_eq!(code("plain"), "` plain `");
        assert_eq!(code("a `` b"), "``` a `` b ```");
        assert_eq!(code("a\n# b"), "` a # b `");
        assert_eq!(code(""), "-");
    }
}
