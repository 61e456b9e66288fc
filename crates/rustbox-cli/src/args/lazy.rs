//! Arguments that clap is told of when their command is among the words that were typed: the table of all of them is
//! half a millisecond of a run, and a hundred pages of memory that each process of the box would copy.

use std::ffi::OsString;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

use super::{AuditArgs, BatchArgs, CleanupArgs, DoctorArgs, RunArgs};
use crate::health::HealthArgs;
use crate::metrics::MetricsArgs;

/// The arguments of a command, which [`tell_of`] tells clap of.
#[derive(Debug)]
pub(crate) struct Lazy<T>(pub(crate) T);

impl<T: Args> Args for Lazy<T> {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

impl<T: FromArgMatches> FromArgMatches for Lazy<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

type Tell = fn(Command) -> Command;

/// The commands whose arguments are [`Lazy`].
const COMMANDS: [(&str, Tell); 7] = [
    ("run", RunArgs::augment_args),
    ("batch", BatchArgs::augment_args),
    ("doctor", DoctorArgs::augment_args),
    ("audit", AuditArgs::augment_args),
    ("health", HealthArgs::augment_args),
    ("metrics", MetricsArgs::augment_args),
    ("cleanup", CleanupArgs::augment_args),
];

/// Tells of the arguments of each command that is among the words. One that is there by chance, the value of a flag
/// say, does no harm.
pub(super) fn tell_of_typed(command: Command, words: &[OsString]) -> Command {
    tell_of(command, |name| words.iter().any(|word| word == name))
}

/// Tells of everything.
pub(super) fn tell_of_all(command: Command) -> Command {
    tell_of(command, |_| true)
}

fn tell_of(command: Command, is_wanted: impl Fn(&str) -> bool) -> Command {
    COMMANDS.iter().fold(command, |command, (name, tell)| {
        let wanted = |sub: &Command| sub.get_name_and_visible_aliases().into_iter().any(&is_wanted);
        if command.find_subcommand(name).is_some_and(wanted) {
            command.mut_subcommand(name, |sub| told(sub, *tell))
        } else {
            command
        }
    })
}

/// What the arguments say about themselves is not for users: what the command is about stays.
fn told(command: Command, tell: Tell) -> Command {
    let about = command.get_about().cloned().unwrap_or_default();
    tell(command).about(about)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::{Cli, command, parse};

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn each_lazy_command_exists_and_is_told_of_by_its_name_or_alias() {
        let has_arguments = |command: &Command, name: &str| {
            command.find_subcommand(name).is_some_and(|sub| sub.get_arguments().next().is_some())
        };
        for (name, _) in COMMANDS {
            assert!(!has_arguments(&Cli::command(), name), "{name}");
            assert!(has_arguments(&tell_of_typed(Cli::command(), &words(&format!("rustbox {name}"))), name), "{name}");
            assert!(has_arguments(&command(), name), "{name}");
        }
        assert!(has_arguments(&tell_of_typed(Cli::command(), &words("rustbox check")), "doctor"));
    }

    #[test]
    fn every_command_is_told_of_all_that_it_reads() {
        let lines = [
            "run x",
            "batch x",
            "doctor",
            "audit",
            "health",
            "metrics",
            "tree",
            "ps",
            "kill x",
            "cleanup",
            "prepare",
            "cgroup-root",
            "config show",
            "schema",
            "completions bash",
            "man",
        ];
        for line in lines {
            let parsed = parse(words(&format!("rustbox {line}")));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
        let tried = lines.map(|line| line.split(' ').next().unwrap_or_default());
        let names: Vec<_> = Cli::command().get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        assert_eq!(names, tried);
    }

    #[test]
    fn the_name_of_a_command_as_the_value_of_a_flag_is_a_value() {
        assert!(parse(words("rustbox --config run audit --json")).is_ok());
        assert!(parse(words("rustbox --config audit run --mem 64M -- batch")).is_ok());
        assert!(parse(words("rustbox audit --mem 64M")).is_err());
    }
}
