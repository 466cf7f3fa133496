//! Durations: `90s`, `1h30m`, `100ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{UnitError, text};

/// A duration: `90s`, `10m`, `2h`, `1h30m`, `100ms`. Its text form has millisecond resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

impl Span {
    /// Whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

/// Units in the order in which they must be written, with their milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse_millis(text)
            .map(Self::from_millis)
            .ok_or_else(|| UnitError::new(text, "duration", "write it like 90s, 10m or 2h"))
    }
}

/// Number and unit, one or several times, the larger unit first, each unit once.
fn parse_millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut next_unit = 0;
    let mut total: u64 = 0;
    loop {
        let (digits, after) = split_at_first(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_at_first(after, |c| c.is_ascii_digit());
        let index = UNITS.iter().position(|(name, _)| *name == unit).filter(|index| *index >= next_unit)?;
        let millis = digits.parse::<u64>().ok()?.checked_mul(UNITS[index].1)?;
        total = total.checked_add(millis)?;
        next_unit = index + 1;
        rest = after;
        if rest.is_empty() {
            return Some(total);
        }
    }
}

fn split_at_first(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return formatter.write_str("0s");
        }
        for (unit, millis) in UNITS {
            let count = rest / u128::from(millis);
            rest %= u128::from(millis);
            if count > 0 {
                write!(formatter, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl text::Unit for Span {
    const EXPECTED: &'static str = "a duration like 90s, 10m or 2h";
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            text::deserialize(deserializer)
        } else {
            Duration::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_kubernetes_writes() {
        for (text, millis) in [
            ("90s", 90_000),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("1h30m", 5_400_000),
            ("100ms", 100),
            ("1m500ms", 60_500),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Span::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_would_have_to_guess() {
        for text in
            ["", "10", "10x", "s", "-1s", "1.5h", "1s1m", "1s1s", "1 s", "99999999999999999999s", "1d"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!(
            "10x".parse::<Span>().map_err(|error| error.to_string()),
            Err("\"10x\" is not a duration; write it like 90s, 10m or 2h".to_owned())
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(millis in 0..=u64::MAX / 2) {
            let span = Span::from_millis(millis);
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn both_kinds_of_format_round_trip(millis in 0..=u64::MAX / 2) {
            let span = Span::from_millis(millis);
            prop_assert_eq!(serde_json::from_str::<Span>(&serde_json::to_string(&span).unwrap()).unwrap(), span);
            prop_assert_eq!(postcard::from_bytes::<Span>(&postcard::to_stdvec(&span).unwrap()).unwrap(), span);
        }
    }
}
