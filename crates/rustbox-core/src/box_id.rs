//! The name of a box.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of a box: `[a-z0-9][a-z0-9-]{0,62}`.
///
/// The id is part of a cgroup's name and of a directory's, so it is rejected when it does not fit,
/// never rewritten: two different ids must never meet in one cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct BoxId(String);

/// Why a text is not a [`BoxId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("box id {given:?} is not of the form [a-z0-9][a-z0-9-]{{0,62}}")]
pub struct BoxIdError {
    /// The rejected text.
    pub given: String,
}

impl BoxId {
    /// Longest accepted id, in bytes; `rustbox-<id>` then still fits a file name (255 bytes).
    pub const MAX_LEN: usize = 63;
    /// What every cgroup of a box begins with.
    pub const CGROUP_PREFIX: &'static str = "rustbox-";

    /// Makes an id of 13 characters out of 64 random bits.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let digits = (0..13).map(|i| char::from(ALPHABET[usize::try_from((bits >> (i * 5)) & 31).unwrap_or_default()]));
        Self(digits.collect())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the box's cgroup directory in every hierarchy: `rustbox-<id>`.
    #[must_use]
    pub fn cgroup_name(&self) -> String {
        format!("{}{}", Self::CGROUP_PREFIX, self.0)
    }

    /// The id in the name of a cgroup directory, if that is a name this crate would give.
    #[must_use]
    pub fn from_cgroup_name(name: &str) -> Option<Self> {
        name.strip_prefix(Self::CGROUP_PREFIX)?.parse().ok()
    }
}

impl FromStr for BoxId {
    type Err = BoxIdError;

    fn from_str(text: &str) -> Result<Self, BoxIdError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits =
            !text.is_empty() && text.len() <= Self::MAX_LEN && !text.starts_with('-') && text.bytes().all(allowed);
        if fits { Ok(Self(text.to_owned())) } else { Err(BoxIdError { given: text.to_owned() }) }
    }
}

impl TryFrom<String> for BoxId {
    type Error = BoxIdError;

    fn try_from(text: String) -> Result<Self, BoxIdError> {
        text.parse()
    }
}

impl From<BoxId> for String {
    fn from(id: BoxId) -> Self {
        id.0
    }
}

impl fmt::Display for BoxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_form_is_an_id() {
        for good in ["a", "0", "a-b-9", &"x".repeat(63)] {
            assert!(good.parse::<BoxId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "A",
            "a_b",
            "a.b",
            "..",
            ".",
            "/",
            "a/b",
            "a\0",
            "a\n",
            "a ",
            "é",
            "\u{202e}a",
            "%n",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<BoxId>().is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_random_id_is_valid(bits: u64) {
            let id = BoxId::from_random(bits);
            proptest::prop_assert_eq!(id.as_str().parse::<BoxId>().unwrap(), id);
        }
    }
}
