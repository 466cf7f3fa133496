//! podsweep's globs against those of the crate `glob` (rust-lang's own, by far the most used).
//!
//! Input: a pattern, a newline, a path. The other language is poorer, so the pattern is put into its words first
//! (`podsweep_fuzz::translate`): braces are expanded, an escape becomes a class. What has no counterpart there is set
//! aside, each with its reason, at the place where it is found out.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use podsweep::policy::Pattern;
use podsweep_fuzz::translate::translate;

const OTHER: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Of a pattern: the other matcher goes back for each `*`, which takes exponential time.
const MAX_PATTERN: usize = 64;

fuzz_target!(|input: &str| {
    let Some((pattern, path)) = input.split_once('\n').filter(|(pattern, _)| pattern.len() <= MAX_PATTERN)
    else {
        return;
    };
    let Ok(ours) = Pattern::anywhere(pattern) else { return };
    let path = clean(path);
    let matched = ours.matches(path.as_bytes());
    if matched {
        never_pruned(&ours, &path);
    }
    // One byte to podsweep, one character there.
    let bytewise = pattern.contains(['?', '[']) && !path.is_ascii();
    // The root itself: no file, so never a candidate; `/**` names it there.
    if bytewise || path == "/" {
        return;
    }
    if let Some(translated) = translate(pattern) {
        let relative = &path[1..];
        let theirs = |text: &String| glob::Pattern::new(text).expect(text).matches_with(relative, OTHER);
        assert_eq!(matched, translated.iter().any(theirs), "{pattern:?} on {path:?}, there {translated:?}");
    }
});

/// A path as the kernel writes it: both matchers are asked about such only.
fn clean(path: &str) -> String {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "." | ".."));
    names.fold(String::new(), |path, name| path + "/" + name)
        + if path.split('/').all(|name| matches!(name, "" | "." | "..")) { "/" } else { "" }
}

/// The walk enters only where `may_match_below` says so, and the symlink check looks at the literal prefix only.
fn never_pruned(pattern: &Pattern, path: &str) {
    for above in Path::new(path).ancestors().skip(1) {
        assert!(pattern.may_match_below(above.as_os_str().as_encoded_bytes()), "{above:?} pruned");
    }
    assert!(Path::new(path).starts_with(pattern.literal_prefix()), "{:?}", pattern.literal_prefix());
}
