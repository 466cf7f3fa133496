//! What a rule names, and that a deny list beats it.

use proptest::prelude::*;

use super::*;
use crate::units::{Bytes, Span};

const NOW: (i64, u32) = (1_800_000_000, 0);

fn rule(paths: &[&str]) -> JunkRule {
    JunkRule {
        name: "r".into(),
        paths: paths.iter().map(ToString::to_string).collect(),
        exclude: Vec::new(),
        volumes: vec![VolumeKind::WritableLayer],
        types: vec![FileType::File],
        older_than: Span::from_secs(60),
        min_size: Bytes(0),
        keep_newest: 0,
        owners: Vec::new(),
        empty_directories: false,
        action: Action::Delete,
        i_know_this_is_broad: false,
    }
}

/// A file whose newest time lies this many seconds before now.
fn file(age: i64) -> FileFacts {
    FileFacts {
        file_type: Some(FileType::File),
        mode: 0o100_644,
        uid: 1000,
        links: 1,
        size: 10,
        mtime: (NOW.0 - age - 1000, 0),
        ctime: (NOW.0 - age, 0),
    }
}

fn judge(rules: &[JunkRule], never: &[&str], path: &str, file: &FileFacts) -> Judgement {
    let never: Vec<String> = never.iter().map(ToString::to_string).collect();
    Junk::compile(rules, &never).unwrap().judge(VolumeKind::WritableLayer, path.as_bytes(), file, NOW)
}

const JUNK: Judgement = Judgement::Junk { rule: 0, action: Action::Delete };

#[test]
fn only_what_a_rule_covers_is_named() {
    assert_eq!(judge(&[rule(&["/tmp/**"])], &[], "/tmp/a", &file(100)), JUNK);
    assert_eq!(judge(&[rule(&["/tmp/**"])], &[], "/srv/a", &file(100)), Judgement::NotNamed);
    let elsewhere = JunkRule { volumes: vec![VolumeKind::EmptyDir], ..rule(&["/tmp/**"]) };
    assert_eq!(judge(&[elsewhere], &[], "/tmp/a", &file(100)), Judgement::NotNamed);
}

#[test]
fn each_condition_has_its_reason() {
    let base = rule(&["/tmp/**"]);
    let cases: [(JunkRule, FileFacts, Kept); 9] = [
        (JunkRule { exclude: vec!["**/*.lock".into()], ..base.clone() }, file(100), Kept::Excluded),
        (base.clone(), FileFacts { file_type: Some(FileType::Symlink), ..file(100) }, Kept::Type),
        (base.clone(), FileFacts { file_type: None, ..file(100) }, Kept::Type),
        (JunkRule { owners: vec![0], ..base.clone() }, file(100), Kept::Owner),
        (base.clone(), FileFacts { links: 2, ..file(100) }, Kept::HardLinked),
        (JunkRule { min_size: Bytes(11), ..base.clone() }, file(100), Kept::TooSmall),
        (base.clone(), file(59), Kept::TooYoung),
        // A future mtime hides behind an old ctime: tampered, or a wrong clock.
        (base.clone(), FileFacts { mtime: (NOW.0 + 5, 0), ..file(100) }, Kept::TooYoung),
        (JunkRule { older_than: Span::from_secs(0), ..base }, file(9), Kept::TooYoung),
    ];
    for (rule, file, reason) in cases {
        assert_eq!(judge(&[rule], &[], "/tmp/a.lock", &file), Judgement::Kept(reason), "{reason:?}");
    }
}

#[test]
fn the_age_is_counted_to_the_nanosecond() {
    let exactly = FileFacts { mtime: (0, 0), ctime: (NOW.0 - 60, 0), ..file(0) };
    assert_eq!(judge(&[rule(&["/tmp/**"])], &[], "/tmp/a", &exactly), JUNK);
    let just_short = FileFacts { ctime: (NOW.0 - 60, 1), ..exactly };
    assert_eq!(judge(&[rule(&["/tmp/**"])], &[], "/tmp/a", &just_short), Judgement::Kept(Kept::TooYoung));
}

#[test]
fn a_later_rule_may_name_what_an_earlier_one_keeps() {
    let young = JunkRule { older_than: Span::from_secs(3600), ..rule(&["/tmp/**"]) };
    let truncate = JunkRule { action: Action::Truncate, ..rule(&["/tmp/*.log"]) };
    let rules = [young, truncate];
    let second = Judgement::Junk { rule: 1, action: Action::Truncate };
    assert_eq!(judge(&rules, &[], "/tmp/a.log", &file(100)), second);
    assert_eq!(judge(&rules, &[], "/tmp/a.log", &file(5)), Judgement::Kept(Kept::TooYoung));
    assert_eq!(judge(&rules, &["**/*.log"], "/tmp/a.log", &file(100)), Judgement::Kept(Kept::Never));
}

#[test]
fn a_bad_glob_is_named_with_its_field() {
    let error = Junk::compile(&[rule(&["/tmp/**"]), rule(&["/a", "/tmp/[a"])], &[]).unwrap_err();
    assert!(error.to_string().starts_with("junk[1].paths[1]: \"/tmp/[a\""), "{error}");
    let error = Junk::compile(&[], &["data".into()]).unwrap_err();
    assert!(error.to_string().starts_with("never[0]: \"data\""), "{error}");
}

#[test]
fn prefixes_name_their_rule() {
    let junk = Junk::compile(&[rule(&["/tmp/**"]), rule(&["/app/cache/*.part", "/var/x"])], &[]).unwrap();
    let expected: Vec<(u16, PathBuf)> =
        vec![(0, "/tmp".into()), (1, "/app/cache".into()), (1, "/var".into())];
    assert_eq!(junk.literal_prefixes(), expected);
}

/// Below these two directories, components of at most two letters: small enough that patterns and paths often meet.
fn some_path() -> impl Strategy<Value = String> {
    "/(tmp|app)(/[ab.]?[ab]){1,4}".prop_map(|path| path)
}

fn some_pattern() -> impl Strategy<Value = String> {
    r"/(tmp|app)(/(\*\*|\*|[ab]\*|\*b|a|ab|\.a)){1,4}".prop_map(|pattern| pattern)
}

fn some_file() -> impl Strategy<Value = FileFacts> {
    (-20_i64..200, 1_u64..3, 0_u64..20, 0_u32..3).prop_map(|(age, links, size, uid)| FileFacts {
        uid,
        links,
        size,
        ..file(age)
    })
}

/// The whole path against the whole pattern, by plain recursion over bytes; shares no code with `Pattern`.
fn naive(pattern: &[u8], path: &[u8]) -> bool {
    match pattern {
        [] => path.is_empty(),
        [b'/', b'*', b'*'] => path.len() > 1 && path[0] == b'/',
        [b'/', b'*', b'*', rest @ ..] => {
            naive(rest, path)
                || (path.first() == Some(&b'/') && {
                    let next = path[1..].iter().position(|byte| *byte == b'/').map(|at| at + 1);
                    next.is_some_and(|next| naive(pattern, &path[next..]))
                })
        }
        [b'*', rest @ ..] => {
            naive(rest, path)
                || path.split_first().is_some_and(|(byte, tail)| *byte != b'/' && naive(pattern, tail))
        }
        [byte, rest @ ..] => path.first() == Some(byte) && naive(rest, &path[1..]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_path_on_a_deny_list_is_never_junk(
        paths in prop::collection::vec(some_pattern(), 1..4),
        never in prop::collection::vec(some_pattern(), 0..3),
        path in some_path(),
        file in some_file(),
    ) {
        let rules = [rule(&paths.iter().map(String::as_str).collect::<Vec<_>>())];
        let never_refs: Vec<&str> = never.iter().map(String::as_str).collect();
        let named = paths.iter().any(|p| naive(p.as_bytes(), path.as_bytes()));
        let denied = never.iter().any(|p| naive(p.as_bytes(), path.as_bytes()));
        match judge(&rules, &never_refs, &path, &file) {
            Judgement::Junk { .. } => {
                prop_assert!(named && !denied);
                prop_assert!(file.links == 1 && file.ctime.0 <= NOW.0 - 60);
            }
            Judgement::NotNamed => prop_assert!(!named),
            Judgement::Kept(Kept::Never) => prop_assert!(named && denied),
            Judgement::Kept(_) => prop_assert!(named && !denied),
        }
    }

    #[test]
    fn the_walk_is_never_pruned_above_junk(
        paths in prop::collection::vec(some_pattern(), 1..4),
        path in some_path(),
    ) {
        let rules = [rule(&paths.iter().map(String::as_str).collect::<Vec<_>>())];
        let junk = Junk::compile(&rules, &[]).unwrap();
        if junk.judge(VolumeKind::WritableLayer, path.as_bytes(), &file(100), NOW) == JUNK {
            for (slash, _) in path.match_indices('/') {
                let directory = &path.as_bytes()[..slash.max(1)];
                prop_assert!(junk.may_match_below(VolumeKind::WritableLayer, directory), "{:?}", directory);
            }
        }
        prop_assert!(!junk.may_match_below(VolumeKind::EmptyDir, b"/"));
    }
}
