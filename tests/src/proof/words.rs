//! The table's evidence and controls in words, for documents and reports.

use std::fmt::Write;

use super::table::{Case, Control, Ends, Expect, Fact, Place, Sees};

impl Fact {
    /// What is measured, with its unit.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Killed => "processes killed",
            Self::LeftSession => "processes outside the session",
            Self::Reaped => "orphans reaped",
            Self::Zombies => "zombies left",
            Self::PidsRefusals => "forks refused",
            Self::MemoryMib => "MiB at the peak",
            Self::CpuMs => "ms of CPU time",
            Self::WallMs => "ms of wall time",
            Self::EmptyMs => "ms from kill to empty",
            Self::StdoutBytes => "bytes of output",
        }
    }
}

impl Expect {
    /// Each piece of evidence as one phrase.
    #[must_use]
    pub fn phrases(&self) -> Vec<String> {
        let mut found = vec![format!("verdict {}", self.verdict())];
        match self.ends {
            Ends::Contained => found.push("the payload says contained".to_owned()),
            Ends::Armed => found.push("armed, and killed with the box".to_owned()),
            Ends::Verdict => {}
        }
        found.extend(self.denied.iter().map(|line| format!("`{line}`")));
        found.extend(self.said.iter().map(|line| format!("the payload says `{line}`")));
        found.extend(self.at_least.iter().map(|(fact, least)| format!("{}: {least} or more", fact.title())));
        found.extend(self.at_most.iter().map(|(fact, most)| format!("{}: {most} or less", fact.title())));
        if !self.states.is_empty() {
            found.push(format!("states at the kill hold {}", self.states));
        }
        found.extend(self.comm.iter().map(|comm| format!("a process called {comm} among the killed")));
        found
    }
}

impl Control {
    /// Where the attack succeeds, and what is seen there.
    #[must_use]
    pub fn phrase(&self) -> String {
        let mut text = match self.place {
            Place::Pen => "pen".to_owned(),
            Place::RootPen => "pen as root".to_owned(),
            Place::Box => format!("box with {}", self.flags.join(" ")),
        };
        text.push_str(match self.sees {
            Sees::Outlived => ": something outlives the main process",
            Sees::Escaped => ": an attempt succeeds",
            Sees::Alive => ": outlasts its time",
            Sees::Code(_) => ": ends with ",
        });
        if let Sees::Code(code) = self.sees {
            let _infallible = if code < 0 { write!(text, "signal {}", -code) } else { write!(text, "{code}") };
        }
        for line in &self.said {
            let _infallible = write!(text, ", `{line}`");
        }
        text
    }
}

impl Case {
    /// The payload's arguments and the box's flags, as one would type them.
    #[must_use]
    pub fn command(&self, payload: &str) -> String {
        let words = ["run".to_owned()].into_iter().chain(self.flags.iter().cloned());
        let words = words.chain(["--".to_owned(), payload.to_owned()]).chain(self.args.iter().cloned());
        words.collect::<Vec<_>>().join(" ")
    }
}
