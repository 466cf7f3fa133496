//! The serde half of every unit: text for people (YAML, JSON), the bare number where the format is binary.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserializer;
use serde::de::{self, Visitor};

/// A value whose text form is `FromStr`. A bare number is read as its text, so that `FromStr` alone decides whether
/// the unit may be left out.
pub(super) trait Unit: FromStr<Err = super::UnitError> {
    /// What a value looks like, for the message about a list or a map in its place.
    const EXPECTED: &'static str;
}

/// Reads a unit from a self-describing format.
pub(super) fn deserialize<'de, T: Unit, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(UnitVisitor(PhantomData))
}

struct UnitVisitor<T>(PhantomData<T>);

impl<T: Unit> Visitor<'_> for UnitVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        // Through text, not through f64: a byte count may exceed 2^53.
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}
