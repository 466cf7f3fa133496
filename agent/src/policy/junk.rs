//! Which files a policy names. Pure.
//!
//! In: the rules and deny lists of one sweep, one file's path and facts, the time. Out: a [`Judgement`]. Must never:
//! call a file junk that a deny list names, whatever the rules say.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pattern::{Pattern, PatternError};
use super::{Action, FileType, JunkRule, VolumeKind};
use crate::scan::Kept;

/// No file younger than this is ever junk, whatever a rule says: a program writes, closes and renames within it.
pub const MINIMUM_AGE: Duration = Duration::from_secs(10);

/// What a file is, as `lstat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileFacts {
    /// `None`: a type that no rule can name (directory, device).
    pub file_type: Option<FileType>,
    /// `st_mode`, with the file type.
    pub mode: u32,
    /// `st_uid`.
    pub uid: u32,
    /// `st_nlink`.
    pub links: u64,
    /// `st_size`, bytes.
    pub size: u64,
    /// `st_mtime`, seconds and nanoseconds since 1970.
    pub mtime: (i64, i64),
    /// `st_ctime`, seconds and nanoseconds since 1970.
    pub ctime: (i64, i64),
}

/// What the rules say about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// No rule's paths cover it.
    NotNamed,
    /// A rule's paths cover it, and it stays.
    Kept(Kept),
    /// It may go.
    Junk {
        /// Index of the rule that named it.
        rule: u16,
        /// What the rule asks for.
        action: Action,
    },
}

/// Rules that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JunkError {
    /// A glob.
    #[error("{place}: {pattern:?} {problem}")]
    Pattern {
        /// Field, as `junk[0].paths[1]` or `never[0]`.
        place: String,
        /// The glob.
        pattern: String,
        /// Why, and what to write instead.
        problem: PatternError,
    },
    /// More rules than a candidate's rule number can tell apart.
    #[error("{0} rules are too many; at most {max} are possible", max = u16::MAX)]
    TooManyRules(usize),
}

/// The rules and deny lists of one sweep, ready to judge.
#[derive(Debug, Clone)]
pub struct Junk {
    rules: Vec<CompiledRule>,
    never: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct CompiledRule {
    rule: JunkRule,
    number: u16,
    paths: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Junk {
    /// Compiles every glob; the first bad one is the error.
    pub fn compile(rules: &[JunkRule], never: &[String]) -> Result<Self, JunkError> {
        let rules = rules
            .iter()
            .enumerate()
            .map(|(index, rule)| {
                Ok(CompiledRule {
                    number: u16::try_from(index).map_err(|_| JunkError::TooManyRules(rules.len()))?,
                    paths: compile_all(&rule.paths, &format!("junk[{index}].paths"), Pattern::absolute)?,
                    exclude: compile_all(
                        &rule.exclude,
                        &format!("junk[{index}].exclude"),
                        Pattern::anywhere,
                    )?,
                    rule: rule.clone(),
                })
            })
            .collect::<Result<_, JunkError>>()?;
        Ok(Self { rules, never: compile_all(never, "never", Pattern::anywhere)? })
    }

    /// What the rules say about one file, at `path` as the container sees it, on storage of this kind.
    ///
    /// `now` is the wall clock, seconds and nanoseconds since 1970. `keepNewest` is not judged here: it needs a whole
    /// directory.
    pub fn judge(&self, kind: VolumeKind, path: &[u8], file: &FileFacts, now: (i64, u32)) -> Judgement {
        let mut covering = self.rules.iter().filter(|rule| rule.covers(kind, path)).peekable();
        if covering.peek().is_none() {
            return Judgement::NotNamed;
        }
        if self.is_never(path) {
            return Judgement::Kept(Kept::Never);
        }
        let mut first_reason = None;
        for rule in covering {
            match rule.reason_to_keep(path, file, now) {
                None => return Judgement::Junk { rule: rule.number, action: rule.rule.action },
                Some(reason) => first_reason = first_reason.or(Some(reason)),
            }
        }
        first_reason.map_or(Judgement::NotNamed, Judgement::Kept)
    }

    /// Whether a rule's paths cover this one: if not, what the file is need not be asked.
    pub fn covers(&self, kind: VolumeKind, path: &[u8]) -> bool {
        self.rules.iter().any(|rule| rule.covers(kind, path))
    }

    /// Whether a deny list names this path.
    pub fn is_never(&self, path: &[u8]) -> bool {
        self.never.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether a rule could name something below this directory: prunes the walk. Never wrongly false.
    pub fn may_match_below(&self, kind: VolumeKind, directory: &[u8]) -> bool {
        self.rules
            .iter()
            .filter(|rule| rule.rule.volumes.contains(&kind))
            .any(|rule| rule.paths.iter().any(|pattern| pattern.may_match_below(directory)))
    }

    /// For each rule, the directories that its globs cannot leave; no symlink may stand there.
    pub fn literal_prefixes(&self) -> Vec<(u16, PathBuf)> {
        self.rules
            .iter()
            .flat_map(|rule| rule.paths.iter().map(|pattern| (rule.number, pattern.literal_prefix())))
            .collect()
    }

    /// What each rule says about one file, in their order, the deny list aside: for explaining.
    pub(crate) fn opinions<'a>(
        &'a self,
        kind: VolumeKind,
        path: &'a [u8],
        file: &'a FileFacts,
        now: (i64, u32),
    ) -> impl Iterator<Item = (&'a JunkRule, Opinion)> {
        self.rules.iter().map(move |rule| {
            let opinion = if rule.covers(kind, path) {
                rule.reason_to_keep(path, file, now).map_or(Opinion::Names, Opinion::Keeps)
            } else {
                Opinion::NotCovered
            };
            (&rule.rule, opinion)
        })
    }
}

/// What one rule says about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opinion {
    /// None of its paths covers it.
    NotCovered,
    /// They do, and it stays.
    Keeps(Kept),
    /// It is junk.
    Names,
}

impl CompiledRule {
    fn covers(&self, kind: VolumeKind, path: &[u8]) -> bool {
        self.rule.volumes.contains(&kind) && self.paths.iter().any(|pattern| pattern.matches(path))
    }

    fn reason_to_keep(&self, path: &[u8], file: &FileFacts, now: (i64, u32)) -> Option<Kept> {
        let rule = &self.rule;
        if self.exclude.iter().any(|pattern| pattern.matches(path)) {
            return Some(Kept::Excluded);
        }
        if !file.file_type.is_some_and(|file_type| rule.types.contains(&file_type)) {
            return Some(Kept::Type);
        }
        if !rule.owners.is_empty() && !rule.owners.contains(&file.uid) {
            return Some(Kept::Owner);
        }
        if file.links > 1 {
            return Some(Kept::HardLinked);
        }
        if file.size < rule.min_size.0 {
            return Some(Kept::TooSmall);
        }
        let oldest_allowed = rule.older_than.0.max(MINIMUM_AGE);
        // A time in the future has no age: a clock is wrong, and a wrong clock proves nothing old.
        match age(file, now) {
            Some(age) if age >= oldest_allowed => None,
            _ => Some(Kept::TooYoung),
        }
    }
}

/// Time since the newest of mtime and ctime; `None` where that lies in the future.
pub(crate) fn age(file: &FileFacts, now: (i64, u32)) -> Option<Duration> {
    let newest = file.mtime.max(file.ctime);
    let nanos = |(seconds, nanos): (i64, i64)| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let elapsed = nanos((now.0, i64::from(now.1))) - nanos(newest);
    u64::try_from(elapsed / 1_000_000_000).ok().filter(|_| elapsed >= 0).map(Duration::from_secs)
}

fn compile_all(
    patterns: &[String],
    place: &str,
    compile: impl Fn(&str) -> Result<Pattern, PatternError>,
) -> Result<Vec<Pattern>, JunkError> {
    patterns
        .iter()
        .enumerate()
        .map(|(index, pattern)| {
            compile(pattern).map_err(|problem| JunkError::Pattern {
                place: format!("{place}[{index}]"),
                pattern: pattern.clone(),
                problem,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
