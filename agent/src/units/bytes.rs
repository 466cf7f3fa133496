//! Quantities of bytes: `20Mi`, `1Gi`, `512`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{UnitError, text};

/// A quantity of bytes: `20Mi`, `1Gi`, `512`, `10k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub u64);

/// Kubernetes' binary suffixes, largest first: the ones a value is shown with.
const BINARY: [(&str, u64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
/// Kubernetes' decimal suffixes: read, never shown.
const DECIMAL: [(&str, u64); 4] =
    [("T", 1_000_000_000_000), ("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse(text).map(Self).ok_or_else(|| {
            UnitError::new(
                text,
                "quantity of bytes",
                "write a whole number and Ki, Mi, Gi, k, M, G or nothing",
            )
        })
    }
}

fn parse(text: &str) -> Option<u64> {
    let (digits, suffix) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().ok()?;
    if suffix.is_empty() {
        return Some(number);
    }
    let (_, factor) = BINARY.iter().chain(&DECIMAL).find(|(name, _)| *name == suffix)?;
    number.checked_mul(*factor)
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BINARY.iter().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor)) {
            Some((suffix, factor)) => write!(formatter, "{}{suffix}", self.0 / factor),
            None => write!(formatter, "{}", self.0),
        }
    }
}

impl text::Unit for Bytes {
    const EXPECTED: &'static str = "a quantity of bytes like 20Mi";
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            text::deserialize(deserializer)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_binary_and_decimal_suffixes() {
        for (text, bytes) in [("20Mi", 20 << 20), ("1Gi", 1 << 30), ("512", 512), ("10k", 10_000), ("0", 0)] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn refuses_fractions_signs_and_unknown_suffixes() {
        for text in ["", "Mi", "1.5Gi", "-1", "1K", "1mi", "1 Mi", "99999999Ti"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn json_accepts_a_bare_number() {
        assert_eq!(serde_json::from_str::<Bytes>("18446744073709551615").unwrap(), Bytes(u64::MAX));
        assert!(serde_json::from_str::<Bytes>("1.5").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes: u64) {
            prop_assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
            let packed = postcard::to_stdvec(&Bytes(bytes)).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Bytes>(&packed).unwrap(), Bytes(bytes));
        }
    }
}
