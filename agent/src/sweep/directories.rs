//! Directories that a sweep emptied (`emptyDirectories`): which may go, and which wait. Pure, but for one look.
//!
//! In: files removed. Out: directories that may be tried. A directory may go only if it lies below the `**` of one
//! of its rule's patterns: what a pattern spells out (`/app/cache`) is somebody's layout and stays.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::policy::JunkRule;

/// Directories remembered at a time. A scan goes depth first, so most are emptied within a batch of being begun;
/// past this number the newest are not remembered, and stay.
const MAX_PENDING: usize = 4096;

/// Where each rule may remove directories.
#[derive(Debug)]
pub(super) struct Areas(Vec<Option<Area>>);

#[derive(Debug)]
struct Area {
    inside: GlobSet,
    denied: GlobSet,
}

/// Directories from which this sweep removed something, deepest last to be found first. Key: root and path below
/// it; value: the rule.
#[derive(Debug, Default)]
pub(super) struct Pending(BTreeMap<(u16, Vec<u8>), u16>);

impl Areas {
    /// Of a policy's rules. `never` beats all of them.
    pub(super) fn new(rules: &[JunkRule], never: &[String]) -> Self {
        Self(rules.iter().map(|rule| Area::new(rule, never)).collect())
    }

    /// Whether a rule may remove this directory (absolute, as the container sees it).
    pub(super) fn contains(&self, rule: u16, seen_path: &[u8]) -> bool {
        let path = Path::new(std::ffi::OsStr::from_bytes(seen_path));
        let area = self.0.get(usize::from(rule)).and_then(Option::as_ref);
        area.is_some_and(|area| area.inside.is_match(path) && !area.denied.is_match(path))
    }
}

impl Area {
    // A pattern that does not compile never gets here (`policy` refuses it); were it to, no directory would go.
    fn new(rule: &JunkRule, never: &[String]) -> Option<Self> {
        if !rule.empty_directories {
            return None;
        }
        let inside: Vec<String> = rule.paths.iter().filter_map(|pattern| below(pattern)).collect();
        let denied = rule.exclude.iter().chain(never);
        Some(Self { inside: set(inside.iter())?, denied: set(denied)? })
    }
}

impl Pending {
    /// A file went from this directory.
    pub(super) fn add(&mut self, root: u16, directory: &[u8], rule: u16) {
        if self.0.len() < MAX_PENDING {
            self.0.insert((root, directory.to_vec()), rule);
        }
    }

    /// Takes all, deepest first.
    pub(super) fn take(&mut self) -> Vec<(u16, Vec<u8>, u16)> {
        let mut all: Vec<_> =
            std::mem::take(&mut self.0).into_iter().map(|((root, path), rule)| (root, path, rule)).collect();
        all.sort_by_key(|(_, path, _)| std::cmp::Reverse(path.split(|&byte| byte == b'/').count()));
        all
    }

    /// Whether none is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `/tmp/**` and `/tmp/**/*.part` cover whole trees below `/tmp`; `/srv/**/tmp/*` spells out a `tmp`, so none.
fn below(pattern: &str) -> Option<String> {
    let (top, rest) = pattern.split_once("/**")?;
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    (!rest.contains('/') && !rest.contains("**")).then(|| format!("{top}/**"))
}

fn set<'a>(patterns: impl Iterator<Item = &'a String>) -> Option<GlobSet> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        builder.add(glob(pattern).ok()?);
    }
    builder.build().ok()
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}

#[cfg(test)]
mod tests {
    use super::super::test_bed::rule;
    use super::*;

    fn areas(pattern: &str, never: &[&str]) -> Areas {
        let rule =
            JunkRule { empty_directories: true, exclude: vec!["/tmp/x/out".into()], ..rule("r", pattern) };
        Areas::new(&[rule], &never.iter().map(|&path| path.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_what_lies_below_two_stars() {
        let tmp = areas("/tmp/**", &[]);
        assert!(tmp.contains(0, b"/tmp/a") && tmp.contains(0, b"/tmp/a/b"));
        assert!(!tmp.contains(0, b"/tmp") && !tmp.contains(0, b"/") && !tmp.contains(0, b"/tmpx/a"));
        assert!(!tmp.contains(0, b"/tmp/x/out") && !tmp.contains(1, b"/tmp/a"));
        assert!(!areas("/app/cache/*.part", &[]).contains(0, b"/app/cache"));
        assert!(!areas("/srv/**/tmp/*", &[]).contains(0, b"/srv/a/tmp"));
        assert!(areas("/srv/*/tmp/**/*.o", &[]).contains(0, b"/srv/a/tmp/b"));
        assert!(!areas("/srv/*/tmp/**/*.o", &[]).contains(0, b"/srv/a/tmp"));
    }

    #[test]
    fn never_beats_the_rule_and_a_rule_that_does_not_ask_gets_none() {
        assert!(!areas("/tmp/**", &["/tmp/a"]).contains(0, b"/tmp/a"));
        assert!(!Areas::new(&[rule("r", "/tmp/**")], &[]).contains(0, b"/tmp/a"));
    }

    #[test]
    fn deepest_first_and_bounded() {
        let mut pending = Pending::default();
        for path in ["a", "a/b", "z", "a/b/c"] {
            pending.add(0, path.as_bytes(), 0);
        }
        let order: Vec<_> = pending.take().into_iter().map(|(_, path, _)| path).collect();
        assert_eq!(order, [&b"a/b/c"[..], b"a/b", b"a", b"z"]);
        for number in 0..=MAX_PENDING {
            pending.add(0, number.to_string().as_bytes(), 0);
        }
        assert_eq!(pending.take().len(), MAX_PENDING);
        assert!(pending.is_empty());
    }
}
