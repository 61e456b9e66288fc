//! A configuration file as a list of keys, each with its value and its line.

use std::path::Path;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Problem;

/// One key of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Value,
}

/// Takes a file apart; what begins with `{` is JSON, everything else TOML.
pub(super) fn entries(path: &Path, text: &str) -> Result<Vec<Entry>, Vec<Problem>> {
    if text.trim_start().starts_with('{') { json(path, text) } else { toml(path, text) }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1
}

fn toml(path: &Path, text: &str) -> Result<Vec<Entry>, Vec<Problem>> {
    let (document, errors) = ::toml::de::DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |e: &::toml::de::Error| Problem {
            file: path.to_owned(),
            line: e.span().map(|span| line_of(text, span.start)),
            // The span of a duplicate is the key itself; of any other mistake it is a piece of syntax.
            key: e.span().filter(|_| e.message() == "duplicate key").and_then(|span| text.get(span)).map(str::to_owned),
            reason: e.message().to_owned(),
        };
        return Err(errors.iter().map(problem).collect());
    }
    let mut entries: Vec<Entry> = document
        .into_inner()
        .into_iter()
        .map(|(key, value)| {
            let line = line_of(text, key.span().start);
            Entry { key: key.into_inner().into_owned(), line, value: plain(value.into_inner()) }
        })
        .collect();
    // The parser's map is in the order of the keys' names.
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// A TOML value in JSON's words, so that both formats are interpreted by the same code.
fn plain(value: ::toml::de::DeValue<'_>) -> Value {
    use ::toml::de::DeValue;
    match value {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.as_str().to_owned()), Value::from),
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map_or_else(|| Value::String(number.as_str().to_owned()), Value::Number),
        DeValue::Boolean(answer) => Value::Bool(answer),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(|item| plain(item.into_inner())).collect()),
        DeValue::Table(table) => Value::Object(
            table.into_iter().map(|(key, value)| (key.into_inner().into_owned(), plain(value.into_inner()))).collect(),
        ),
    }
}

/// An object's members in their order, duplicates included, each value as a slice of the text.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn json(path: &Path, text: &str) -> Result<Vec<Entry>, Vec<Problem>> {
    let refuse = |line: usize, key: Option<&str>, reason: String| {
        vec![Problem { file: path.to_owned(), line: Some(line), key: key.map(str::to_owned), reason }]
    };
    let Members(members) = serde_json::from_str(text).map_err(|e| refuse(e.line(), None, json_message(&e)))?;
    let mut entries: Vec<Entry> = Vec::new();
    for (key, raw) in members {
        // The slice lies in `text`: the difference of the addresses is its place there.
        let offset = raw.get().as_ptr().addr().saturating_sub(text.as_ptr().addr());
        let line = line_of(text, offset);
        if entries.iter().any(|known| known.key == key) {
            return Err(refuse(line, Some(&key), "duplicate key".to_owned()));
        }
        let value = serde_json::from_str(raw.get()).map_err(|e| refuse(line, Some(&key), json_message(&e)))?;
        entries.push(Entry { key, line, value });
    }
    Ok(entries)
}

/// The parser's sentence without its position, which is told apart.
pub(super) fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
