//! Shares of a whole: `15%`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{UnitError, text};

/// A share of the whole: `15%`, between 0 and 100 where it is one of a disk; a CPU share may exceed 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Percent(pub f64);

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let number = text.strip_suffix('%').unwrap_or(text);
        // f64's own syntax is wider (`inf`, `1e3`, `+5`) than what people write.
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match number.parse::<f64>() {
            Ok(value) if plain && value.is_finite() => Ok(Self(value)),
            _ => Err(UnitError::new(text, "percentage", "write it like 15% or 2.5%")),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}%", self.0)
    }
}

impl text::Unit for Percent {
    const EXPECTED: &'static str = "a percentage like 15%";
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            text::deserialize(deserializer)
        } else {
            f64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_sign_may_be_left_out() {
        assert_eq!("15%".parse(), Ok(Percent(15.0)));
        assert_eq!("2.5".parse(), Ok(Percent(2.5)));
        assert_eq!(serde_json::from_str::<Percent>("15").unwrap(), Percent(15.0));
    }

    #[test]
    fn refuses_what_is_no_share() {
        for text in ["", "%", "-1%", "inf", "NaN", "1e3", "15 %", "15%%", "1.2.3"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(value in 0.0..1e9_f64) {
            prop_assert_eq!(Percent(value).to_string().parse(), Ok(Percent(value)));
        }
    }
}
