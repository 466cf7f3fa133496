//! What the rules of one policy say of one file, as a chain. Pure: the same judgement as a scan's, taken apart.
//!
//! In: a policy, a path, what the file is. Out: the rule that names it, or the no that a scan would count. Must never:
//! come to another word than [`Junk::judge`] (`tests::the_chain_ends_in_the_word_that_a_scan_counts`).

use crate::inventory::VolumeKind;
use crate::policy::chain::{Chain, No};
use crate::policy::junk::{MINIMUM_AGE, Opinion, age};
use crate::policy::{FileFacts, Junk, JunkRule, Pattern, SweepPolicy};
use crate::scan::Kept;

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) policy: &'a SweepPolicy,
    /// The node's deny list of paths.
    pub(super) node_never: &'a [String],
    pub(super) kind: VolumeKind,
    /// Absolute, as the container sees it.
    pub(super) path: &'a [u8],
    pub(super) facts: &'a FileFacts,
    /// The wall clock, seconds and nanoseconds since 1970.
    pub(super) now: (i64, u32),
}

/// The rule that names the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Named {
    /// Its number in the policy.
    pub(super) rule: u16,
    /// The rule itself.
    pub(super) junk: JunkRule,
    /// Where on the chain it says so.
    pub(super) place: usize,
}

/// Paths first, then the deny lists, then each rule in its order: as a scan asks.
pub(super) fn ask(asked: &Asked<'_>, chain: &mut Chain) -> Result<Named, No> {
    const QUESTION: &str = "does a rule's path cover it, on this storage?";
    let junk = Junk::compile(&asked.policy.spec.junk, &[])
        .map_err(|error| chain.decides(4, QUESTION, "PolicyInvalid", error.to_string()))?;
    if !junk.covers(asked.kind, asked.path) {
        return Err(chain.decides(4, QUESTION, "NotNamed", "no, of none: stays"));
    }
    chain.goes_on(4, QUESTION, "yes");
    deny_list(1, "does the node's config deny the path?", asked.node_never, asked.path, chain)?;
    deny_list(4, "does the policy deny the path?", &asked.policy.spec.never, asked.path, chain)?;
    rules(&junk, asked, chain)
}

fn deny_list(level: u8, question: &str, globs: &[String], path: &[u8], chain: &mut Chain) -> Result<(), No> {
    let names = |glob: &&String| Pattern::anywhere(glob).is_ok_and(|pattern| pattern.matches(path));
    if let Some(glob) = globs.iter().find(names) {
        return Err(chain.decides(
            level,
            question,
            word(Kept::Never),
            format!("yes, `never` has {glob:?}: stays"),
        ));
    }
    chain.goes_on(level, question, "no");
    Ok(())
}

/// The first rule that names the file has it; else the first of those that cover it says why it stays.
fn rules(junk: &Junk, asked: &Asked<'_>, chain: &mut Chain) -> Result<Named, No> {
    let mut first_no = None;
    for (number, (rule, opinion)) in (0..).zip(junk.opinions(asked.kind, asked.path, asked.facts, asked.now))
    {
        let question = format!("does rule {} name it?", rule.name);
        match opinion {
            Opinion::NotCovered => {
                chain.goes_on(4, question, "no, none of its paths covers it on this storage");
            }
            Opinion::Keeps(reason) => {
                let answer = format!("no, {reason:?}: {}", sentence(reason, rule, asked));
                let place = chain.objects(level(reason, asked), question, word(reason), answer);
                first_no.get_or_insert(place);
            }
            Opinion::Names => {
                let place = chain.goes_on(4, question, format!("yes: {:?}", rule.action));
                return Ok(Named { rule: number, junk: rule.clone(), place });
            }
        }
    }
    Err(chain.decided_at(first_no.unwrap_or_default()))
}

/// The word that metrics and history have for it.
pub(super) fn word(reason: Kept) -> String {
    format!("{reason:?}")
}

// Built in, or the rule's own wish: the same word, since a scan counts the one and the other alike.
fn level(reason: Kept, asked: &Asked<'_>) -> u8 {
    let built_in = match reason {
        Kept::HardLinked => true,
        Kept::TooYoung => is_younger_than_any_may_be(asked),
        _ => false,
    };
    if built_in { 0 } else { 4 }
}

fn is_younger_than_any_may_be(asked: &Asked<'_>) -> bool {
    age(asked.facts, asked.now).is_none_or(|age| age < MINIMUM_AGE)
}

/// What a reason means, for the person who asks.
fn sentence(reason: Kept, rule: &JunkRule, asked: &Asked<'_>) -> String {
    match reason {
        Kept::Excluded => "its `exclude` takes the path out again".to_owned(),
        Kept::Type => format!("it names only {:?}", rule.types),
        Kept::Owner => {
            format!("it is uid {}'s, and the rule names only files of uid {:?}", asked.facts.uid, rule.owners)
        }
        Kept::HardLinked => {
            format!("the file has {} names, and removing one frees nothing", asked.facts.links)
        }
        Kept::TooSmall => {
            format!(
                "it has {} bytes, and the rule names only files of {} and more",
                asked.facts.size, rule.min_size
            )
        }
        Kept::TooYoung if is_younger_than_any_may_be(asked) => {
            format!("{}; nothing younger than {} s ever goes", changed(asked), MINIMUM_AGE.as_secs())
        }
        Kept::TooYoung => {
            format!("{}; the rule names only files older than {}", changed(asked), rule.older_than)
        }
        other => format!("{other:?}"),
    }
}

/// How long ago it changed.
pub(super) fn changed(asked: &Asked<'_>) -> String {
    age(asked.facts, asked.now)
        .map_or_else(|| "its time is in the future".into(), |age| format!("changed {} s ago", age.as_secs()))
}
