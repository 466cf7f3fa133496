//! What docs/policy.md says goes, worked out as naively as it reads. Calls nothing of podsweep's: two programs that
//! agree by calling each other prove nothing.
//!
//! In: a policy, the files of a container. Out: what becomes of each that does not stay.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Nothing younger is junk, whatever a rule says: seconds.
const MINIMUM_AGE: i64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Symlink,
    Socket,
    Fifo,
    /// Directory, device: no rule can name it.
    Other,
}

/// A file as it lies in the container's writable layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) kind: Kind,
    pub(super) uid: u32,
    pub(super) links: u64,
    pub(super) size: u64,
    /// The newest of mtime and ctime: seconds and nanoseconds since 1970.
    pub(super) touched: (i64, i64),
    pub(super) inode: u64,
    /// A layer of the image has something at the same path.
    pub(super) in_image: bool,
}

/// By path, absolute as the container sees it.
pub(super) type Files = BTreeMap<Vec<u8>, File>;

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) paths: Vec<String>,
    pub(super) exclude: Vec<String>,
    pub(super) in_writable_layer: bool,
    pub(super) kinds: Vec<Kind>,
    /// Seconds.
    pub(super) older_than: i64,
    pub(super) min_size: u64,
    pub(super) keep_newest: usize,
    pub(super) owners: Vec<u32>,
    pub(super) empty_directories: bool,
    pub(super) truncate: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) rules: Vec<Rule>,
    pub(super) never: Vec<String>,
}

/// What becomes of a file that does not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    Removed,
    Truncated,
}

impl Policy {
    /// What goes at `now`, seconds since 1970, and by which rule.
    pub(super) fn condemned(&self, files: &Files, now: i64) -> BTreeMap<Vec<u8>, (usize, Gone)> {
        let mut condemned = BTreeMap::new();
        for (number, rule) in self.rules.iter().enumerate() {
            let first_named_by = |path: &[u8], file| {
                self.rules.iter().position(|rule| rule.names(path, file, now)) == Some(number)
            };
            let mut named: Vec<(&Vec<u8>, &File)> = files
                .iter()
                .filter(|(path, file)| {
                    !file.in_image && !any(&self.never, path) && first_named_by(path, file)
                })
                .collect();
            named.sort_by_key(|(path, file)| std::cmp::Reverse((file.touched, *path)));
            for (path, file) in &named {
                let newer = named.iter().take_while(|(other, _)| other != path);
                let newer_beside = newer.filter(|(other, _)| directory(other) == directory(path)).count();
                let gone = if rule.truncate { Gone::Truncated } else { Gone::Removed };
                // Open files are known when their turn comes; nothing shows whether such a socket is bound.
                let in_doubt = file.kind == Kind::Socket && path.contains(&b'\n');
                let nothing_to_cut = rule.truncate && file.size == 0;
                if newer_beside >= rule.keep_newest && !in_doubt && !nothing_to_cut {
                    condemned.insert((*path).clone(), (number, gone));
                }
            }
        }
        condemned
    }

    /// As a person writes it.
    pub(super) fn text(&self) -> String {
        let rules: Vec<Value> =
            self.rules.iter().enumerate().map(|(number, rule)| rule.value(number)).collect();
        json!({
            "apiVersion": "podsweep.io/v1alpha1",
            "kind": "SweepPolicy",
            "metadata": {"name": "random"},
            "spec": {
                "mode": "Enforce",
                "select": {"images": ["any"]},
                "junk": rules,
                "never": self.never,
                "sweep": {
                    "batchSize": 8,
                    "batchInterval": "10ms",
                    "maxPressure": {"cpu": 100, "io": 100, "memory": 100},
                },
            },
        })
        .to_string()
    }
}

impl Rule {
    fn names(&self, path: &[u8], file: &File, now: i64) -> bool {
        let age = now - file.touched.0 - i64::from(file.touched.1 > 0);
        self.in_writable_layer
            && any(&self.paths, path)
            && !any(&self.exclude, path)
            && self.kinds.contains(&file.kind)
            && (self.owners.is_empty() || self.owners.contains(&file.uid))
            && file.links == 1
            && file.size >= self.min_size
            && age >= self.older_than.max(MINIMUM_AGE)
    }

    fn value(&self, number: usize) -> Value {
        let types: Vec<String> = self.kinds.iter().map(|kind| format!("{kind:?}")).collect();
        json!({
            "name": format!("r{number}"),
            "paths": self.paths,
            "exclude": self.exclude,
            "volumes": [if self.in_writable_layer { "WritableLayer" } else { "EmptyDir" }],
            "types": types,
            "olderThan": format!("{}s", self.older_than),
            "minSize": self.min_size,
            "keepNewest": self.keep_newest,
            "owners": self.owners,
            "emptyDirectories": self.empty_directories,
            "action": if self.truncate { "Truncate" } else { "Delete" },
            "iKnowThisIsBroad": true,
        })
    }
}

pub(super) fn directory(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|&byte| byte == b'/').unwrap_or(0)]
}

fn any(patterns: &[String], path: &[u8]) -> bool {
    patterns.iter().any(|pattern| matches(pattern, path))
}

/// Whether a glob names a path.
pub(super) fn matches(pattern: &str, path: &[u8]) -> bool {
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    let pattern: Vec<&[u8]> = pattern.as_bytes().split(|&byte| byte == b'/').collect();
    let path: Vec<&[u8]> = path[1..].split(|&byte| byte == b'/').collect();
    components(&pattern, &path)
}

fn components(pattern: &[&[u8]], path: &[&[u8]]) -> bool {
    match pattern {
        [] => path.is_empty(),
        [b"**"] => !path.is_empty(),
        [b"**", rest @ ..] => (0..=path.len()).any(|skipped| components(rest, &path[skipped..])),
        [first, rest @ ..] => {
            path.split_first().is_some_and(|(name, below)| one(first, name) && components(rest, below))
        }
    }
}

fn one(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', rest @ ..] => (0..=name.len()).any(|skipped| one(rest, &name[skipped..])),
        [b'?', rest @ ..] => !name.is_empty() && one(rest, &name[1..]),
        [b'\\', literal, rest @ ..] => name.first() == Some(literal) && one(rest, &name[1..]),
        [b'[', rest @ ..] => class(rest, name),
        [b'{', rest @ ..] => braces(rest, name),
        [literal, rest @ ..] => name.first() == Some(literal) && one(rest, &name[1..]),
    }
}

/// `rest`: what follows the bracket.
fn class(rest: &[u8], name: &[u8]) -> bool {
    let Some((&first, behind)) = name.split_first() else { return false };
    let (negated, rest) = rest.strip_prefix(b"!").map_or((false, rest), |rest| (true, rest));
    let end = 1 + rest[1..].iter().position(|&byte| byte == b']').unwrap();
    let within = match &rest[..end] {
        [from, b'-', to] => (*from..=*to).contains(&first),
        single => single.contains(&first),
    };
    within != negated && one(&rest[end + 1..], behind)
}

/// `rest`: what follows the brace. No braces within braces here.
fn braces(rest: &[u8], name: &[u8]) -> bool {
    let end = rest.iter().position(|&byte| byte == b'}').unwrap();
    let behind = &rest[end + 1..];
    rest[..end].split(|&byte| byte == b',').any(|either| one(&[either, behind].concat(), name))
}

#[test]
fn the_reference_reads_globs_as_the_document_shows_them() {
    for (pattern, path, named) in [
        ("/tmp/**", "/tmp", false),
        ("/tmp/**", "/tmp/a/b", true),
        ("/a/**/b", "/a/b", true),
        ("/a/**/b", "/a/x/y/b", true),
        ("**/*.log", "/x.log", true),
        ("/tmp/*", "/tmp/a/b", false),
        ("/tmp/[!a-c]?", "/tmp/dx", true),
        ("/tmp/[!a-c]?", "/tmp/bx", false),
        ("/tmp/x{,.bak}", "/tmp/x", true),
        ("/tmp/{a,b*}.c", "/tmp/bb.c", true),
        ("/tmp/\\*", "/tmp/x", false),
        ("/tmp/[[]x]", "/tmp/[x]", true),
    ] {
        assert_eq!(matches(pattern, path.as_bytes()), named, "{pattern} {path}");
    }
}
