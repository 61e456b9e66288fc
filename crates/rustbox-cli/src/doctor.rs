//! What a box needs of this host, found out by doing it.
//!
//! A kernel's version says little: distributions add, containers take away. So every line comes from
//! a call that was made or a file that was read just now. What could not be looked at is unknown,
//! and unknown never passes.

mod a_box;
mod cgroups;
mod kernel;
mod places;
mod rights;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::config::Settings;
use crate::render::escape_text;

/// How good a thing is for running boxes, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// For people; decides nothing.
    Info,
    /// As it should be.
    Pass,
    /// Boxes run, with less.
    Limited,
    /// It could not be looked at.
    Unknown,
    /// Boxes are refused in strict mode.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Need {
    /// What it is.
    pub(crate) name: String,
    /// How good it is.
    pub(crate) verdict: Verdict,
    /// What this host has.
    pub(crate) found: String,
    /// What a box needs.
    pub(crate) required: String,
    /// What to do about it; none when nothing needs to be done.
    pub(crate) fix: Option<String>,
}

impl Need {
    fn new(name: &str, verdict: Verdict, found: impl Into<String>, required: &str) -> Self {
        Self { name: name.to_owned(), verdict, found: found.into(), required: required.to_owned(), fix: None }
    }

    fn fix(self, fix: &str) -> Self {
        Self { fix: Some(fix.to_owned()), ..self }
    }
}

/// The doctor's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Diagnosis {
    /// Name and version of this form.
    pub(crate) schema: &'static str,
    /// The worst verdict among the needs.
    pub(crate) verdict: Verdict,
    /// One entry for each need.
    pub(crate) needs: Vec<Need>,
}

impl Diagnosis {
    pub(crate) fn of(needs: Vec<Need>) -> Self {
        let verdict = needs.iter().map(|need| need.verdict).max().unwrap_or(Verdict::Unknown);
        Self { schema: "rustbox.doctor/v1", verdict: verdict.max(Verdict::Pass), needs }
    }

    /// 0 boxes run here, 1 something fails, 2 could not look.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Info | Verdict::Pass | Verdict::Limited => 0,
            Verdict::Fail => 1,
            Verdict::Unknown => 2,
        }
    }

    /// One line for each need, and one under it for what to do.
    pub(crate) fn text(&self) -> String {
        let width = self.needs.iter().map(|need| need.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for need in &self.needs {
            let (style, word) = label(need.verdict);
            let (found, required) = (escape_text(&need.found), escape_text(&need.required));
            text.push_str(&format!(
                "{style}{word:<7}{style:#}  {:<width$}  {found} (required: {required})\n",
                need.name
            ));
            if let Some(fix) = &need.fix {
                text.push_str(&format!("{:9}{:<width$}  fix: {}\n", "", "", escape_text(fix)));
            }
        }
        let (style, word) = label(self.verdict);
        let meaning = match self.verdict {
            Verdict::Info | Verdict::Pass => "boxes run on this host",
            Verdict::Limited => "boxes run on this host, with the limits named above",
            Verdict::Unknown => "something could not be looked at",
            Verdict::Fail => "boxes are refused on this host in strict mode",
        };
        text.push_str(&format!("{style}{word}{style:#}: {meaning}\n"));
        text
    }
}

fn label(verdict: Verdict) -> (Style, &'static str) {
    match verdict {
        Verdict::Info => (Style::new(), "INFO"),
        Verdict::Pass => (AnsiColor::Green.on_default(), "PASS"),
        Verdict::Limited => (AnsiColor::Yellow.on_default(), "LIMITED"),
        Verdict::Unknown => (AnsiColor::Magenta.on_default(), "UNKNOWN"),
        Verdict::Fail => (AnsiColor::Red.on_default().bold(), "FAIL"),
    }
}

/// Looks at everything.
pub(crate) fn examine(settings: &Settings) -> Diagnosis {
    let mut needs = rights::rights();
    needs.extend(kernel::kernel());
    needs.extend(cgroups::cgroups(settings));
    needs.extend(places::places(settings));
    needs.extend(a_box::a_box(settings));
    Diagnosis::of(needs)
}

/// The text of a file of the kernel, trimmed; `None` when the kernel has no such file.
fn kernel_file(path: &str) -> std::io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(verdict: Verdict) -> Need {
        Need::new("thing", verdict, "found\u{1b}[2J", "something").fix("do this")
    }

    #[test]
    fn the_worst_need_decides_and_unknown_is_never_good() {
        let code = |verdicts: &[Verdict]| Diagnosis::of(verdicts.iter().map(|v| need(*v)).collect()).exit_code();
        assert_eq!(code(&[Verdict::Info, Verdict::Pass]), 0);
        assert_eq!(code(&[Verdict::Pass, Verdict::Limited]), 0);
        assert_eq!(code(&[Verdict::Unknown, Verdict::Pass]), 2);
        assert_eq!(code(&[Verdict::Unknown, Verdict::Fail]), 1);
        assert_eq!(code(&[]), 2, "nothing was looked at");
    }

    #[test]
    fn every_line_says_what_was_found_and_required_and_what_to_do() {
        let diagnosis = Diagnosis::of(vec![need(Verdict::Pass), need(Verdict::Fail)]);
        insta::assert_snapshot!(anstream::adapter::strip_str(&diagnosis.text()).to_string());
    }
}
