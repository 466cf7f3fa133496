//! What a unit looks like to an API server: its text form as a pattern (RE2), and a whole number where the unit may be
//! left out.
//!
//! Whatever matches is read by `FromStr`: the patterns have fewer digits than would overflow. Some spellings that files
//! may have are not taken here, such as a share that is a fraction without its sign.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Bytes, Percent, Span};

/// The larger unit first, each once, at least one. Nine digits: 114,000 years of hours.
const SPAN: &str = "^([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?$";
/// The shortest duration has a digit and a unit: keeps out the empty text, which the pattern alone would take.
const SHORTEST_SPAN: u64 = 2;

/// 64 bits hold each of these: 10^18, 10^9 Gi, 10^6 Ti.
const BYTES: &str = "^([0-9]{1,18}|[0-9]{1,9}(Ki|Mi|Gi|k|M|G)|[0-9]{1,6}Ti?)$";

const PERCENT: &str = "^[0-9]{1,6}(\\.[0-9]{1,6})?%?$";

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": SPAN, "minLength": SHORTEST_SPAN })
    }
}

impl JsonSchema for Bytes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true, "pattern": BYTES, "minimum": 0 })
    }
}

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true, "pattern": PERCENT, "minimum": 0 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::string::string_regex;

    use super::*;

    /// Texts that a pattern takes. It takes whole values only, and that is how they are made here: without the anchors.
    fn taken(pattern: &str) -> impl Strategy<Value = String> + use<> {
        let whole = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$')).unwrap();
        string_regex(whole).unwrap()
    }

    proptest! {
        #[test]
        fn what_a_server_takes_can_be_read(
            span in taken(SPAN).prop_filter("minLength", |text| text.len() >= 2),
            bytes in taken(BYTES),
            percent in taken(PERCENT),
        ) {
            prop_assert!(span.parse::<Span>().is_ok(), "{span}");
            prop_assert!(bytes.parse::<Bytes>().is_ok(), "{bytes}");
            prop_assert!(percent.parse::<Percent>().is_ok(), "{percent}");
        }
    }
}
