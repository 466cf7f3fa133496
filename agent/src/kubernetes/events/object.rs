//! What is told of a pod, and the API's object for it. Pure but for the wall clock in the object.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use super::book::Write;
use crate::policy::Reason;
use crate::text::is_harmless;

/// Who reports, as the API calls it.
const CONTROLLER: &str = "podsweep.io/agent";

/// Longest note, bytes (events.k8s.io/v1: "maximal length of the note is 1kB").
const MAX_NOTE: usize = 1024;

/// Longest `reportingInstance`, bytes (events.k8s.io/v1).
const MAX_INSTANCE: usize = 128;

/// What happened. `reason` of the Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Files were removed.
    Swept,
    /// The container came to harm after a sweep.
    Harmed,
    /// A sweep that a policy asked for was refused, and the pod's owner can do something about it.
    Refused,
}

impl Kind {
    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Swept => "Swept",
            Self::Harmed => "Harmed",
            Self::Refused => "Refused",
        }
    }

    /// `Normal` or `Warning`.
    const fn severity(self) -> &'static str {
        match self {
            Self::Swept => "Normal",
            Self::Harmed | Self::Refused => "Warning",
        }
    }
}

/// Which pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodReference {
    /// Its uid: what is told of one pod is not told of the next of that name.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Something that happened to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEvent {
    /// To which.
    pub pod: PodReference,
    /// The container within it.
    pub container: Option<String>,
    /// What.
    pub kind: Kind,
    /// A sentence.
    pub note: String,
}

/// Whether the owner of a pod can do something about this refusal. The others are the node's or the cluster's business,
/// or pass by themselves.
pub fn is_for_owners(reason: &str) -> bool {
    let reason = Reason::of_word(reason);
    matches!(
        reason,
        Some(
            Reason::Conflict
                | Reason::PolicyInvalid
                | Reason::ExecutorUnavailable
                | Reason::NoRm
                | Reason::ExecForbidden
                | Reason::BreakerOpen
        )
    )
}

/// The first of a series.
pub(super) fn first(write: &Write, instance: &str) -> Event {
    let event = &write.event;
    Event {
        metadata: ObjectMeta {
            name: Some(write.name.clone()),
            namespace: Some(event.pod.namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some("Sweep".into()),
        reason: Some(event.kind.as_str().into()),
        type_: Some(event.kind.severity().into()),
        note: Some(shown(&event.note)),
        event_time: Some(MicroTime(Timestamp::now())),
        regarding: Some(ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(event.pod.name.clone()),
            namespace: Some(event.pod.namespace.clone()),
            uid: Some(event.pod.uid.clone()),
            field_path: event.container.as_ref().map(|name| format!("spec.containers{{{name}}}")),
            resource_version: None,
        }),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(cut(instance, MAX_INSTANCE).into()),
        ..Event::default()
    }
}

/// How often by now. Nothing else of an Event may be changed.
pub(super) fn series(count: u32) -> serde_json::Value {
    // As MicroTime is written: six digits.
    let now = MicroTime(Timestamp::now());
    serde_json::json!({"series": {"count": count, "lastObservedTime": now}})
}

fn shown(note: &str) -> String {
    let harmless: String = note.chars().map(|c| if is_harmless(c) { c } else { '\u{fffd}' }).collect();
    cut(&harmless, MAX_NOTE).to_owned()
}

/// Not more than so many bytes of it.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_told_what_an_owner_can_change() {
        assert!(is_for_owners("NoRm") && is_for_owners("Conflict"));
        for word in ["NoSlot", "CoolDown", "Paused", "GlobalBreakerOpen", "Complete", ""] {
            assert!(!is_for_owners(word), "{word}");
        }
    }

    #[test]
    fn a_note_is_short_and_harmless() {
        assert_eq!(shown("a\u{1b}[2J\nb"), "a\u{fffd}[2J\u{fffd}b");
        assert!(shown(&"ä".repeat(MAX_NOTE)).len() <= MAX_NOTE);
    }
}
