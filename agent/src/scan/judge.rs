//! The scan's view of `policy::junk`: one place to adapt should its interface move.
//!
//! In: a path as the container sees it and what the file is. Out: junk by which rule, kept and why, or not named.
//! Must never: touch a file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::{Identity, Kept};
use crate::inventory::VolumeKind;
use crate::policy::{Action, FileType, JunkRule};

/// A rule's glob that does not compile.
#[derive(Debug, thiserror::Error)]
#[error("junk rules: {0}")]
pub struct JudgeError(#[from] globset::Error);

/// What is to be done about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    NotNamed,
    Kept(Kept),
    Junk { rule: u16, action: Action },
}

// REPLACE AT INTEGRATION: everything below is a stand-in with the semantics of CONTRACTS.md until
// `policy::junk::Junk` is in the tree; then `Judge` holds a `Junk` and these methods forward to it.

/// Youngest age, seconds, at which a file may be junk at all (POLICY, level 0).
const MIN_AGE: u64 = 10;

#[derive(Debug)]
struct Rule {
    paths: GlobSet,
    exclude: GlobSet,
    prefixes: Vec<Vec<u8>>,
    spec: JunkRule,
}

/// The compiled rules of one request.
#[derive(Debug)]
pub(super) struct Judge {
    rules: Vec<Rule>,
    never: GlobSet,
    now: (i64, u32),
}

impl Judge {
    pub(super) fn compile(rules: &[JunkRule], never: &[String], now: (i64, u32)) -> Result<Self, JudgeError> {
        let rules = rules
            .iter()
            .map(|spec| {
                Ok(Rule {
                    paths: globs(&spec.paths)?,
                    exclude: globs(&spec.exclude)?,
                    prefixes: spec.paths.iter().map(|glob| literal_prefix(glob)).collect(),
                    spec: spec.clone(),
                })
            })
            .collect::<Result<_, globset::Error>>()?;
        Ok(Self { rules, never: globs(never)?, now })
    }

    /// Whether any rule's paths cover `path`: worth a look at the file itself.
    pub(super) fn names(&self, kind: VolumeKind, path: &[u8]) -> bool {
        self.covering(kind, path).next().is_some()
    }

    pub(super) fn judge(&self, kind: VolumeKind, path: &[u8], file: &Identity) -> Judgement {
        let mut first = None;
        for (index, rule) in self.covering(kind, path) {
            match self.kept(rule, path, file) {
                Some(reason) => first = first.or(Some(reason)),
                None => return Judgement::Junk { rule: index, action: rule.spec.action },
            }
        }
        first.map_or(Judgement::NotNamed, Judgement::Kept)
    }

    pub(super) fn may_match_below(&self, kind: VolumeKind, directory: &[u8]) -> bool {
        self.rules.iter().filter(|rule| rule.spec.volumes.contains(&kind)).any(|rule| {
            rule.prefixes
                .iter()
                .any(|prefix| is_at_or_below(directory, prefix) || is_at_or_below(prefix, directory))
        })
    }

    pub(super) fn keep_newest(&self, rule: u16) -> u32 {
        self.rules.get(usize::from(rule)).map_or(0, |rule| rule.spec.keep_newest)
    }

    fn covering(&self, kind: VolumeKind, path: &[u8]) -> impl Iterator<Item = (u16, &Rule)> {
        let path = OsStr::from_bytes(path);
        (0..)
            .zip(&self.rules)
            .filter(move |(_, rule)| rule.spec.volumes.contains(&kind) && rule.paths.is_match(path))
    }

    fn kept(&self, rule: &Rule, path: &[u8], file: &Identity) -> Option<Kept> {
        let path = OsStr::from_bytes(path);
        let newest = file.mtime.max(file.ctime);
        let min_age = i64::try_from(rule.spec.older_than.0.as_secs().max(MIN_AGE)).unwrap_or(i64::MAX);
        let old_enough = newest <= (self.now.0.saturating_sub(min_age), i64::from(self.now.1));
        let failing = [
            (rule.exclude.is_match(path), Kept::Excluded),
            (self.never.is_match(path), Kept::Never),
            (!file_type(file.mode).is_some_and(|kind| rule.spec.types.contains(&kind)), Kept::Type),
            (!rule.spec.owners.is_empty() && !rule.spec.owners.contains(&file.uid), Kept::Owner),
            (file.links > 1, Kept::HardLinked),
            (file.size < rule.spec.min_size.0, Kept::TooSmall),
            (!old_enough, Kept::TooYoung),
        ];
        failing.into_iter().find_map(|(fails, reason)| fails.then_some(reason))
    }
}

fn file_type(mode: u32) -> Option<FileType> {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::RegularFile => Some(FileType::File),
        rustix::fs::FileType::Symlink => Some(FileType::Symlink),
        rustix::fs::FileType::Socket => Some(FileType::Socket),
        rustix::fs::FileType::Fifo => Some(FileType::Fifo),
        _ => None,
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(compile(pattern)?);
    }
    set.build()
}

fn compile(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}

/// The components of a glob before the first that is a pattern.
fn literal_prefix(glob: &str) -> Vec<u8> {
    let literal = glob.split('/').take_while(|part| !part.contains(['*', '?', '[', '{', '\\']));
    literal.collect::<Vec<_>>().join("/").into_bytes()
}

fn is_at_or_below(path: &[u8], directory: &[u8]) -> bool {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
