//! Random policies, out of pieces that often name something in the random trees.

use proptest::prelude::*;

use super::reference::{Kind, Policy, Rule};

/// Of a glob, between slashes.
const COMPONENTS: [&str; 18] = [
    "**",
    "**",
    "*",
    "*",
    "tmp",
    "cache",
    "a",
    "{tmp,cache}",
    "[!a-c]*",
    "*.log",
    "*.{log,tmp}",
    "?*",
    ".*",
    "core.?",
    "core.[1-2]*",
    "\\*",
    "[[]?]",
    "x{,.log}",
];

/// Whole globs that name much.
const WIDE: [&str; 6] = ["/tmp/**", "/**", "/cache/**", "/tmp/*/*", "/{tmp,var}/**/*", "/**/?*.*"];

const KINDS: [Kind; 4] = [Kind::File, Kind::Symlink, Kind::Socket, Kind::Fifo];

/// Seconds. Far from every age that the random trees have (10, 40, 60 minutes and less than none), so that the time
/// which a test takes decides nothing.
const AGES: [i64; 6] = [10, 10, 10, 900, 2700, 5400];

pub(super) fn policy() -> impl Strategy<Value = Policy> {
    (prop::collection::vec(rule(), 1..4), prop::collection::vec(narrow(), 0..2))
        .prop_map(|(rules, never)| Policy { rules, never })
}

fn rule() -> impl Strategy<Value = Rule> {
    let globs = (
        prop::collection::vec(glob(), 1..3),
        prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(narrow(), 1..3)],
    );
    let kinds = prop_oneof![
        2 => Just(KINDS.to_vec()),
        1 => Just(vec![Kind::File]),
        1 => prop::sample::subsequence(KINDS.to_vec(), 1..=4),
    ];
    let numbers = (prop::sample::select(&AGES[..]), prop_oneof![4 => Just(0), 1 => 0u64..3000], 0usize..4);
    let owners = prop_oneof![6 => Just(vec![]), 1 => Just(vec![0]), 1 => Just(vec![1000, 65_534])];
    let switches = (prop::bool::weighted(0.98), any::<bool>(), prop::bool::weighted(0.3));
    (globs, kinds, numbers, owners, switches).prop_map(
        |(
            (paths, exclude),
            kinds,
            (older_than, min_size, newest),
            owners,
            (in_writable_layer, empties, truncate),
        )| {
            Rule {
                paths,
                exclude,
                in_writable_layer,
                kinds: if truncate { vec![Kind::File] } else { kinds },
                older_than,
                min_size,
                keep_newest: newest.saturating_sub(1),
                owners,
                empty_directories: empties && !truncate,
                truncate,
            }
        },
    )
}

/// What rules are to name.
fn glob() -> impl Strategy<Value = String> {
    prop_oneof![3 => prop::sample::select(&WIDE[..]).prop_map(str::to_owned), 1 => made()]
}

fn made() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&COMPONENTS[..]), 1..5)
        .prop_map(|components| format!("/{}", components.join("/")))
}

/// What rules except and deny lists keep: seldom everything, or nothing would be left to remove.
fn narrow() -> impl Strategy<Value = String> {
    let by_name = prop::sample::select(&COMPONENTS[4..]).prop_map(|name| format!("**/{name}"));
    prop_oneof![8 => by_name, 2 => made(), 1 => prop::sample::select(&WIDE[..]).prop_map(str::to_owned)]
}
