//! What a YAML error means to the person who wrote the file.

use serde_saphyr::{Error, Location, MessageFormatter, UserMessageFormatter};

use super::{Fault, Fields, suggest};

/// The error in the file's own terms: place, field, problem, remedy.
pub(super) fn fault(error: &Error, fields: &Fields) -> Fault {
    let place = error.location().filter(|location| *location != Location::UNKNOWN);
    let (line, column) = place.map_or((0, 0), |location| (location.line(), location.column()));
    let message = message(error);
    match error {
        Error::SerdeMissingField { field, .. } => {
            let holder = fields.holder_at(line, column);
            let (line, column) = fields.locate(&holder);
            let field = if holder.is_empty() { (*field).to_owned() } else { format!("{holder}.{field}") };
            Fault { line, column, field, message }
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            let field = fields.earlier(key, line, column).unwrap_or_else(|| key.clone());
            Fault { line, column, field, message }
        }
        Error::MultipleDocuments { .. } => Fault { line, column, field: String::new(), message },
        _ if line == 0 => Fault { line, column, field: String::new(), message },
        _ => Fault { line, column, field: fields.at(line, column), message },
    }
}

fn message(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown field {field:?}; {}", remedy(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("{variant:?} is not a known word here; {}", remedy(variant, expected))
        }
        Error::SerdeMissingField { .. } => "is missing; add it".to_owned(),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            format!("found {unexpected}; write {expected}")
        }
        Error::DuplicateMappingKey { .. } => "is given twice; remove one".to_owned(),
        Error::MultipleDocuments { .. } => {
            "a second document begins here; move it to a file of its own".to_owned()
        }
        Error::Eof { .. } => "the file is empty or ends too early; write one document".to_owned(),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

fn remedy(wrong: &str, known: &[&str]) -> String {
    match suggest::nearest(wrong, known) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("known are {}", known.join(", ")),
    }
}
