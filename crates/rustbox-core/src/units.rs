//! Sizes and times as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes, written `512`, `64K`, `64M`, `2G`, `1T` (powers of 1024; `KiB`, `MB`, ... too).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct ByteSize(pub u64);

/// A duration written in seconds (`1.5`, `1.5s`), or as `200ms`, `2m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct Seconds(pub Duration);

/// Why a text is not a size or a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a number with a known unit behind it.
    #[error("{given:?} is not a size: write bytes, or a number with K, M, G or T, such as 64M")]
    Size {
        /// The rejected text.
        given: String,
    },
    /// Not a number of seconds, nor a number with a known unit behind it.
    #[error("{given:?} is not a time: write seconds, such as 1.5 or 1.5s, or 200ms, 2m, 1h")]
    Time {
        /// The rejected text.
        given: String,
    },
}

/// Longest accepted time: a year. A longer one is a mistaken unit, and sums of two stay in range.
const TIME_MAX_SECS: f64 = 366.0 * 86_400.0;

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    text.split_at(end)
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refuse = || UnitError::Size { given: text.to_owned() };
        let (number, unit) = split_number(text);
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(refuse()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || (shift == 0 && number.contains('.')) {
            return Err(refuse());
        }
        let whole: u64 = whole.parse().map_err(|_| refuse())?;
        let numerator: u64 = fraction.parse().map_err(|_| refuse())?;
        let denominator = 10_u64.pow(u32::try_from(fraction.len()).unwrap_or(9));
        let part = u128::from(numerator) * (1_u128 << shift) / u128::from(denominator);
        let total = u128::from(whole) * (1_u128 << shift) + part;
        // The kernel's counters are signed: what does not fit there is a mistaken unit.
        u64::try_from(total).ok().filter(|bytes| *bytes <= i64::MAX.unsigned_abs()).map(Self).ok_or_else(refuse)
    }
}

impl FromStr for Seconds {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refuse = || UnitError::Time { given: text.to_owned() };
        let (number, unit) = split_number(text);
        let scale = match unit {
            "" | "s" => 1.0,
            "ms" => 0.001,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(refuse()),
        };
        if number.is_empty() || number.starts_with('.') || number.ends_with('.') {
            return Err(refuse());
        }
        let seconds: f64 = number.parse::<f64>().map_err(|_| refuse())? * scale;
        if seconds > TIME_MAX_SECS { Err(refuse()) } else { Ok(Self(Duration::from_secs_f64(seconds))) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
            if self.0 >> shift > 0 && self.0 & ((1 << shift) - 1) == 0 {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs_f64())
    }
}

/// A number or a text in a configuration file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Whole(u64),
    Fraction(f64),
    Text(String),
}

impl Written {
    fn into_text(self) -> String {
        match self {
            Self::Whole(number) => number.to_string(),
            Self::Fraction(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// A text that may be written as the number that it is.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let written = Option::<Written>::deserialize(deserializer);
    Ok(written.map_err(|_| de::Error::custom("expected a number or a text"))?.map(Written::into_text))
}

macro_rules! serde_as_written {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let written = Written::deserialize(deserializer);
                let written = written.map_err(|_| de::Error::custom("expected a number or a text with a unit"))?;
                written.into_text().parse().map_err(de::Error::custom)
            }
        }
    };
}

serde_as_written!(ByteSize);
serde_as_written!(Seconds);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64K", 65536),
            ("64M", 64 << 20),
            ("1.5G", 3 << 29),
            ("2GiB", 2 << 30),
            ("1t", 1 << 40),
        ] {
            assert_eq!(text.parse::<ByteSize>(), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in [
            "",
            "-1",
            "M",
            "1.5",
            "1e9",
            "1X",
            " 1",
            "1 ",
            "9999999T",
            "0x10",
            "1.M",
            "٣",
            "NaN",
            "18446744073709551615",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times_are_seconds_unless_they_say_otherwise() {
        for (text, ms) in
            [("1", 1000), ("1.5", 1500), ("1.5s", 1500), ("200ms", 200), ("2m", 120_000), ("1h", 3_600_000), ("0", 0)]
        {
            assert_eq!(text.parse::<Seconds>(), Ok(Seconds(Duration::from_millis(ms))), "{text}");
        }
        for bad in ["", "-1", "s", "1e9", "1x", "inf", "NaN", "1.", ".5", "99999999999", " 1"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_size_reads_back_as_it_was_shown(bytes in 0..i64::MAX.unsigned_abs()) {
            proptest::prop_assert_eq!(ByteSize(bytes).to_string().parse::<ByteSize>(), Ok(ByteSize(bytes)));
        }
    }
}
