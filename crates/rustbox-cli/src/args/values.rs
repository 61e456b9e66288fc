//! Values of flags that are words.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use rustbox_core::{CgroupBackend, Network, SeccompMode, WaitFor};
use tracing::level_filters::LevelFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people; to the journal with every field, where stderr leads there.
    Auto,
    /// One JSON object a line.
    Json,
    /// To the journal, with every field.
    Journal,
}

/// The value of `--log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogChoice {
    pub(crate) level: LevelFilter,
    pub(crate) format: LogFormat,
}

impl FromStr for LogChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut choice = Self { level: LevelFilter::WARN, format: LogFormat::Auto };
        for word in text.split(',') {
            match word {
                "json" => choice.format = LogFormat::Json,
                "journal" => choice.format = LogFormat::Journal,
                "off" => choice.level = LevelFilter::OFF,
                "error" => choice.level = LevelFilter::ERROR,
                "warn" => choice.level = LevelFilter::WARN,
                "info" => choice.level = LevelFilter::INFO,
                "debug" => choice.level = LevelFilter::DEBUG,
                "trace" => choice.level = LevelFilter::TRACE,
                _ => {
                    return Err(
                        "write off, error, warn, info, debug or trace, json or journal, or both: debug,json".to_owned()
                    );
                }
            }
        }
        Ok(choice)
    }
}

/// One `--env`: a variable with its value, or the name of one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EnvArg {
    /// `NAME=VALUE`.
    Set(OsString, OsString),
    /// `NAME`: the value is the caller's; nothing is passed when the caller has none.
    Pass(OsString),
}

impl EnvArg {
    /// Takes the text apart at the first `=`; bytes that are not UTF-8 are kept.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let owned = |part: &[u8]| OsString::from_vec(part.to_vec());
        match bytes.iter().position(|b| *b == b'=') {
            Some(0) => Err("a variable needs a name: write NAME=VALUE, or NAME to pass ours on".to_owned()),
            Some(at) => Ok(Self::Set(owned(&bytes[..at]), owned(&bytes[at + 1..]))),
            None if bytes.is_empty() => Err("write NAME=VALUE, or NAME to pass ours on".to_owned()),
            None => Ok(Self::Pass(text.to_owned())),
        }
    }

    /// The variable as the payload gets it, if it gets one.
    pub(crate) fn resolve(self) -> Option<(OsString, OsString)> {
        match self {
            Self::Set(name, value) => Some((name, value)),
            Self::Pass(name) => std::env::var_os(&name).map(|value| (name, value)),
        }
    }
}

/// Parses `--env` without losing bytes that are not UTF-8.
#[derive(Clone, Debug)]
pub(crate) struct EnvParser;

impl TypedValueParser for EnvParser {
    type Value = EnvArg;

    fn parse_ref(&self, cmd: &clap::Command, arg: Option<&clap::Arg>, value: &OsStr) -> Result<EnvArg, clap::Error> {
        EnvArg::parse(value).map_err(|reason| {
            let name = arg.map(ToString::to_string).unwrap_or_default();
            let text = format!("invalid value '{}' for '{name}': {reason}\n", value.display());
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, text).with_cmd(cmd)
        })
    }
}

/// Parser of `--cgroup-backend`.
pub(super) fn cgroup_backend() -> impl TypedValueParser<Value = CgroupBackend> {
    PossibleValuesParser::new(["v1", "v2", "hybrid"]).map(|word| match word.as_str() {
        "v1" => CgroupBackend::V1,
        "v2" => CgroupBackend::V2,
        _ => CgroupBackend::Hybrid,
    })
}

/// Parser of `--net`.
pub(super) fn network() -> impl TypedValueParser<Value = Network> {
    PossibleValuesParser::new(["none", "host"]).map(|word| match word.as_str() {
        "host" => Network::Host,
        _ => Network::None,
    })
}

/// Parser of `--seccomp`.
pub(super) fn seccomp() -> impl TypedValueParser<Value = SeccompMode> {
    PossibleValuesParser::new(["errno", "kill", "off"]).map(|word| match word.as_str() {
        "kill" => SeccompMode::Kill,
        "off" => SeccompMode::Off,
        _ => SeccompMode::Errno,
    })
}

/// Parser of `--wait`.
pub(super) fn wait_for() -> impl TypedValueParser<Value = WaitFor> {
    PossibleValuesParser::new(["main", "all"]).map(|word| match word.as_str() {
        "all" => WaitFor::All,
        _ => WaitFor::Main,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_split_at_its_first_equals_sign() {
        let set = |n: &str, v: &str| Ok(EnvArg::Set(n.into(), v.into()));
        assert_eq!(EnvArg::parse(OsStr::new("A=b=c")), set("A", "b=c"));
        assert_eq!(EnvArg::parse(OsStr::new("A=")), set("A", ""));
        assert_eq!(EnvArg::parse(OsStr::new("A")), Ok(EnvArg::Pass("A".into())));
        assert!(EnvArg::parse(OsStr::new("=b")).is_err());
        assert!(EnvArg::parse(OsStr::new("")).is_err());
        let raw = OsStr::from_bytes(b"A=\xff");
        assert_eq!(EnvArg::parse(raw), Ok(EnvArg::Set("A".into(), OsString::from_vec(vec![0xff]))));
    }

    #[test]
    fn log_takes_a_level_and_a_format_in_any_order() {
        let choice = |level, format| Ok(LogChoice { level, format });
        assert_eq!("debug".parse(), choice(LevelFilter::DEBUG, LogFormat::Auto));
        assert_eq!("json".parse(), choice(LevelFilter::WARN, LogFormat::Json));
        assert_eq!("json,info".parse(), choice(LevelFilter::INFO, LogFormat::Json));
        assert!("loud".parse::<LogChoice>().is_err());
        assert!("".parse::<LogChoice>().is_err());
    }
}
