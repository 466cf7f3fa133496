//! docs/threat-model.md names the test of each control: none of them may be made up, or gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The names in the last column of every table that has one for tests.
fn named(document: &str) -> Vec<String> {
    let mut shows_tests = false;
    let mut names = Vec::new();
    for line in document.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            shows_tests = false;
            continue;
        };
        let last = row.rsplit('|').next().unwrap_or_default().trim();
        shows_tests |= last == "shown by";
        if shows_tests {
            names.extend(last.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    names
}

/// The functions below a folder whose attributes call them tests; proptest's, too.
fn tests_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            for name in tests_in(&fs::read_to_string(&path).unwrap()) {
                found.insert(format!("{file}::{name}"));
                found.insert(name);
            }
        }
    }
}

fn tests_in(source: &str) -> Vec<String> {
    let after_attributes = source.split("#[test]").skip(1).chain(source.split("#[tokio::test").skip(1));
    let name = |rest: &str| {
        let (_, name) = rest.split_once("fn ")?;
        name.split_once('(').map(|(name, _)| name.to_owned())
    };
    after_attributes.filter_map(name).collect()
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let document = fs::read_to_string(workspace().join("docs/threat-model.md")).unwrap();
    let names = named(&document);
    assert!(names.len() > 50, "{names:?}");
    let mut found = BTreeSet::new();
    for folder in ["agent/src", "agent/tests", "tests/src", "tests/tests", "xtask/src"] {
        tests_below(&workspace().join(folder), &mut found);
    }
    let missing: Vec<_> = names.iter().filter(|name| !found.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/threat-model.md names tests that do not exist: {missing:#?}");
}

#[test]
fn names_are_read_from_the_last_column_only() {
    let document = "| `a` | x |\n|---|---|\n| `b` | `c` |\n\n| try | shown by |\n|---|---|\n| `d` | `e`, TODO-test, `f` |\n";
    assert_eq!(named(document), ["e", "f"]);
    assert_eq!(
        tests_in("#[test]\nfn one() {}\n#[tokio::test(x)]\nasync fn two() {}\nfn three() {}"),
        ["one", "two"]
    );
}
