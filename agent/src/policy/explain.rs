//! Why one file would, or would not, be removed: who is asked, in which order, and who decides. Pure.
//!
//! In: a container, a path as it sees it, what the file is, the policies and the node's word. Out: [`Step`]s in the
//! order of asking, one of them deciding. Must never: be taken for the removal's own checks; later levels (5 to 7) and
//! whatever changes between scan and removal may still say no.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::junk::Opinion;
use super::{FileFacts, Junk, JunkRule, NodeGuard, Pattern, PolicySet, SweepPolicy, VolumeKind, choose};
use crate::inventory::Container;
use crate::scan::Kept;

/// One question, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// 0 built in, 1 node config, 4 policy.
    pub level: u8,
    /// What was asked.
    pub question: String,
    /// What was said.
    pub answer: String,
    /// This answer decides.
    pub deciding: bool,
}

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The container.
    pub container: &'a Container,
    /// The file, absolute, as the container sees it.
    pub path: &'a [u8],
    /// What it is; `None` where it could not be read or is not there.
    pub facts: Option<&'a FileFacts>,
    /// The wall clock, seconds and nanoseconds since 1970.
    pub now: (i64, u32),
}

/// The chain of answers for one file; exactly one step decides.
pub fn explain(set: &PolicySet, guard: &NodeGuard, asked: &Asked<'_>) -> Vec<Step> {
    let mut chain = Chain::default();
    // A `No` has already put its deciding step on the chain.
    let _: Result<(), No> = ask(set, guard, asked, &mut chain);
    chain.steps
}

fn ask(set: &PolicySet, guard: &NodeGuard, asked: &Asked<'_>, chain: &mut Chain) -> Result<(), No> {
    let kind = storage(asked, chain)?;
    node(guard, asked, chain)?;
    let policy = policy(set, asked.container, chain)?;
    never(&policy, asked.path, chain)?;
    rules(&policy, kind, asked, chain);
    Ok(())
}

#[derive(Default)]
struct Chain {
    steps: Vec<Step>,
}

/// Somebody said no.
struct No;

impl Chain {
    /// An answer after which the next one is asked.
    fn goes_on(&mut self, level: u8, question: impl Into<String>, answer: impl Into<String>) {
        self.steps.push(Step { level, question: question.into(), answer: answer.into(), deciding: false });
    }

    /// An answer after which nobody is asked.
    fn decides(&mut self, level: u8, question: impl Into<String>, answer: impl Into<String>) -> No {
        self.steps.push(Step { level, question: question.into(), answer: answer.into(), deciding: true });
        No
    }
}

/// Level 0: what holds the file.
fn storage(asked: &Asked<'_>, chain: &mut Chain) -> Result<VolumeKind, No> {
    const QUESTION: &str = "which storage holds it?";
    match storage_of(asked.container, asked.path) {
        Storage::Kind(kind, place) => {
            chain.goes_on(0, QUESTION, format!("{kind:?} at {place}"));
            Ok(kind)
        }
        Storage::Other(place) => {
            Err(chain.decides(0, QUESTION, format!("another mount, at {place}: stays, never entered")))
        }
        Storage::Unknown => {
            let answer = "the container's root, which is no overlay: stays, only its volumes are swept";
            Err(chain.decides(0, QUESTION, answer))
        }
    }
}

enum Storage {
    Kind(VolumeKind, String),
    Other(String),
    Unknown,
}

/// The mount with the longest mount point that holds the path.
fn storage_of(container: &Container, path: &[u8]) -> Storage {
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
    let volumes = container.volumes.iter().map(|volume| (&volume.mount_point, Some(volume.kind)));
    let others = container.other_mounts.iter().map(|mount_point| (mount_point, None));
    let innermost = volumes
        .chain(others)
        .filter(|(mount_point, _)| path.starts_with(mount_point))
        .max_by_key(|(mount_point, _)| mount_point.components().count());
    match innermost {
        Some((mount_point, Some(kind))) => Storage::Kind(kind, mount_point.display().to_string()),
        Some((mount_point, None)) => Storage::Other(mount_point.display().to_string()),
        None if container.layer.is_some() => Storage::Kind(VolumeKind::WritableLayer, "/".to_owned()),
        None => Storage::Unknown,
    }
}

/// Level 1: the node's config.
fn node(guard: &NodeGuard, asked: &Asked<'_>, chain: &mut Chain) -> Result<(), No> {
    const CONTAINER: &str = "does the node's config let the container be swept?";
    if let Err(refusal) = guard.allows(asked.container) {
        return Err(chain.decides(1, CONTAINER, format!("no, {}: {}", refusal.reason, refusal.message)));
    }
    chain.goes_on(1, CONTAINER, "yes");
    deny_list(1, "does the node's config deny the path?", guard.never(), asked.path, chain)
}

/// Level 4: which policy acts.
fn policy(set: &PolicySet, container: &Container, chain: &mut Chain) -> Result<Arc<SweepPolicy>, No> {
    const QUESTION: &str = "which policy acts?";
    for (policy, matched) in set.matching(container) {
        let answer = match matched {
            Ok(()) => format!("yes, with priority {}", policy.spec.priority),
            Err(line) => format!("no, its `{line}` does not match"),
        };
        chain.goes_on(4, format!("does policy {} select the container?", policy.metadata.name), answer);
    }
    match choose(set, container).policy() {
        Ok(policy) => {
            chain.goes_on(4, QUESTION, format!("{}, in mode {:?}", policy.metadata.name, policy.spec.mode));
            Ok(Arc::clone(policy))
        }
        Err(refusal) => {
            Err(chain.decides(4, QUESTION, format!("none, {}: {}", refusal.reason, refusal.message)))
        }
    }
}

/// Level 4: the policy's own deny list.
fn never(policy: &SweepPolicy, path: &[u8], chain: &mut Chain) -> Result<(), No> {
    deny_list(4, "does the policy deny the path?", &policy.spec.never, path, chain)
}

fn deny_list(level: u8, question: &str, globs: &[String], path: &[u8], chain: &mut Chain) -> Result<(), No> {
    let names = |glob: &&String| Pattern::anywhere(glob).is_ok_and(|pattern| pattern.matches(path));
    if let Some(glob) = globs.iter().find(names) {
        return Err(chain.decides(level, question, format!("yes, `never` has {glob:?}: stays")));
    }
    chain.goes_on(level, question, "no");
    Ok(())
}

/// Level 4: the rules, in order. The first that names the file decides; else the first whose paths cover it.
fn rules(policy: &SweepPolicy, kind: VolumeKind, asked: &Asked<'_>, chain: &mut Chain) {
    const QUESTION: &str = "does a rule name it?";
    let junk = match Junk::compile(&policy.spec.junk, &[]) {
        Ok(junk) => junk,
        Err(error) => {
            chain.decides(4, QUESTION, format!("the rules cannot be used: {error}"));
            return;
        }
    };
    let Some(facts) = asked.facts else {
        chain.decides(0, "what is the file?", "it is not there, or cannot be read: stays");
        return;
    };
    let first = chain.steps.len();
    let mut first_covering = None;
    for (number, (rule, opinion)) in junk.opinions(kind, asked.path, facts, asked.now).enumerate() {
        let question = format!("does rule {} name it?", rule.name);
        match opinion {
            Opinion::NotCovered => {
                chain.goes_on(4, question, "no, none of its paths covers it on this storage");
            }
            Opinion::Keeps(reason) => {
                first_covering = first_covering.or(Some(first + number));
                chain.goes_on(4, question, format!("no, {reason:?}: {}", sentence(reason, rule)));
            }
            Opinion::Names => {
                chain.decides(4, question, format!("yes: {:?}", rule.action));
                return;
            }
        }
    }
    match first_covering.and_then(|index| chain.steps.get_mut(index)) {
        Some(step) => step.deciding = true,
        None => {
            chain.decides(4, QUESTION, "no: stays");
        }
    }
}

/// What a reason means, for the person who asks.
fn sentence(reason: Kept, rule: &JunkRule) -> String {
    match reason {
        Kept::Excluded => "its `exclude` takes the path out again".to_owned(),
        Kept::Type => format!("it names only {:?}", rule.types),
        Kept::Owner => format!("it names only files of uid {:?}", rule.owners),
        Kept::HardLinked => "the file has another name, and removing one frees nothing".to_owned(),
        Kept::TooSmall => format!("it names only files of {} and more", rule.min_size),
        Kept::TooYoung => format!("it names only files older than {}", rule.older_than),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::policy::FileType;
    use crate::policy::fixtures::{container, policy};

    const NOW: (i64, u32) = (1_800_000_000, 0);

    fn old_file() -> FileFacts {
        let time = (NOW.0 - 100_000, 0);
        FileFacts {
            file_type: Some(FileType::File),
            mode: 0o100_644,
            uid: 0,
            links: 1,
            size: 1,
            mtime: time,
            ctime: time,
        }
    }

    /// The deciding step, of exactly one.
    fn deciding(config: &str, more: &str, path: &str, facts: Option<&FileFacts>) -> (u8, String) {
        let config = Config::parse(config, Path::new("c.yaml")).unwrap();
        let set = PolicySet::new(vec![policy("p", more)]).unwrap();
        let container = container();
        let asked = Asked { container: &container, path: path.as_bytes(), facts, now: NOW };
        let steps = explain(&set, &NodeGuard::new(&config).unwrap(), &asked);
        let mut decided = steps.iter().filter(|step| step.deciding);
        let step = decided.next().unwrap();
        assert!(decided.next().is_none(), "{steps:?}");
        (step.level, format!("{} {}", step.question, step.answer))
    }

    #[test]
    fn the_first_no_decides_in_the_order_of_levels() {
        let file = old_file();
        let all = "{sweeps: Disabled, never: ['/tmp/**']}";
        for (config, more, path, level, words) in [
            (all, "  never: ['/tmp/**']", "/etc/app/x", 0, "another mount, at /etc/app"),
            (all, "  never: ['/tmp/**']", "/tmp/x", 1, "NodeDisabled"),
            ("{never: ['/tmp/**']}", "  never: ['/tmp/**']", "/tmp/x", 1, "deny the path? yes, `never` has"),
            ("", "  never: ['/tmp/**']", "/tmp/x", 4, "policy deny the path? yes"),
            ("", "", "/tmp/x.lock", 4, "rule scratch name it? no, Excluded"),
            ("", "", "/srv/x", 4, "does a rule name it? no: stays"),
            ("", "", "/tmp/x", 4, "rule scratch name it? yes: Delete"),
            ("", "", "/scratch/x", 4, "rule scratch name it? yes: Delete"),
        ] {
            let (decided, step) = deciding(config, more, path, Some(&file));
            assert_eq!(decided, level, "{path}: {step}");
            assert!(step.contains(words), "{path}: {step}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_stays() {
        let (level, step) = deciding("", "", "/tmp/x", None);
        assert_eq!(level, 0);
        assert!(step.ends_with("stays"), "{step}");
    }

    #[test]
    fn reasons_carry_the_figure_of_the_rule() {
        let young = FileFacts { ctime: (NOW.0 - 60, 0), ..old_file() };
        let (_, step) = deciding("", "", "/tmp/x", Some(&young));
        assert!(step.ends_with("TooYoung: it names only files older than 1h"), "{step}");
    }
}
