//! What the annotation `podsweep.io/sweep` of a namespace or a pod says. Pure.

use std::collections::BTreeMap;

use super::labels;

/// Characters of a value that nobody understands which are shown to people; a value may have 256 KiB.
const SHOWN: usize = 32;

/// The owner's word on sweeping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Annotation {
    /// There is none.
    #[default]
    Absent,
    /// `Enabled`.
    Enabled,
    /// `Disabled`.
    Disabled,
    /// Anything else, its beginning: whoever wrote it wanted something, and a no harms nothing.
    Unclear(String),
}

impl Annotation {
    /// Read from an object's annotations.
    pub fn of(annotations: Option<&BTreeMap<String, String>>) -> Self {
        match annotations.and_then(|annotations| annotations.get(labels::SWEEP)).map(String::as_str) {
            None => Self::Absent,
            Some("Enabled") => Self::Enabled,
            Some("Disabled") => Self::Disabled,
            Some(other) => Self::Unclear(other.chars().take(SHOWN).collect()),
        }
    }

    /// Whether it lets a sweep begin: the words of the answer, either way.
    pub fn allows(&self) -> Result<&'static str, String> {
        let key = labels::SWEEP;
        match self {
            Self::Absent => Ok("yes, it has none"),
            Self::Enabled => Ok("yes, Enabled"),
            Self::Disabled => Err(format!("annotation {key} is Disabled")),
            Self::Unclear(value) => Err(format!(
                "annotation {key} is {value:?}, which counts as Disabled; write Enabled or Disabled"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(value: &str) -> Annotation {
        Annotation::of(Some(&BTreeMap::from([(labels::SWEEP.to_owned(), value.to_owned())])))
    }

    #[test]
    fn only_absent_and_enabled_allow() {
        assert!(Annotation::of(None).allows().is_ok());
        assert!(Annotation::of(Some(&BTreeMap::new())).allows().is_ok());
        assert!(annotation("Enabled").allows().is_ok());
        for no in ["Disabled", "", "enabled", "true", " Enabled"] {
            assert!(annotation(no).allows().is_err(), "{no:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said_and_cut() {
        let long = annotation(&"ö\n".repeat(1000));
        let said = long.allows().unwrap_err();
        assert!(said.contains("counts as Disabled") && !said.contains('\n'), "{said}");
        assert!(said.chars().count() < 200, "{said}");
    }
}
