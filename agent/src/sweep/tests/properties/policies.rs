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
const AGES: [i64; 4] = [10, 900, 2700, 5400];

pub(super) fn policy() -> impl Strategy<Value = Policy> {
    (prop::collection::vec(rule(), 1..4), prop::collection::vec(anywhere(), 0..2))
        .prop_map(|(rules, never)| Policy { rules, never })
}

fn rule() -> impl Strategy<Value = Rule> {
    let globs = (prop::collection::vec(glob(), 1..3), prop::collection::vec(anywhere(), 0..3));
    let kinds = prop_oneof![
        2 => Just(KINDS.to_vec()),
        1 => Just(vec![Kind::File]),
        1 => prop::sample::subsequence(KINDS.to_vec(), 1..=4),
    ];
    let numbers = (prop::sample::select(&AGES[..]), prop_oneof![2 => Just(0), 1 => 0u64..3000], 0usize..4);
    let owners = prop_oneof![3 => Just(vec![]), 1 => Just(vec![0]), 1 => Just(vec![1000, 65_534])];
    let switches = (prop::bool::weighted(0.95), any::<bool>(), prop::bool::weighted(0.2));
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

fn glob() -> impl Strategy<Value = String> {
    let made = prop::collection::vec(prop::sample::select(&COMPONENTS[..]), 1..5)
        .prop_map(|components| format!("/{}", components.join("/")));
    prop_oneof![prop::sample::select(&WIDE[..]).prop_map(str::to_owned), made]
}

/// As deny lists may be written.
fn anywhere() -> impl Strategy<Value = String> {
    prop_oneof![prop::sample::select(&COMPONENTS[..]).prop_map(|name| format!("**/{name}")), glob()]
}
