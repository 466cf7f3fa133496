//! Reads the program's own sources: only the door removes, and only one place has a container's `rm` remove.

use std::path::{Path, PathBuf};

/// Calls that remove, cut or replace a file.
const FORBIDDEN: [&str; 12] = [
    "unlink(",
    "unlinkat(",
    "remove_file(",
    "remove_dir(",
    "remove_dir_all(",
    "truncate(&",
    "ftruncate(",
    "set_len(",
    "rename(",
    "renameat(",
    "renameat2(",
    "renameat_with(",
];

/// Files that may, because what they remove is podsweep's own, with what that is.
const ALLOWED: [(&str, &str); 8] = [
    ("sweep/door.rs", "the door"),
    ("report/journal", "its own journal, rotated"),
    ("report/state_dir", "its own lock file"),
    ("observe/self_test", "the file that it makes to see whether it is counted"),
    ("report/history", "its own database, and the ballast against a full disk"),
    ("scan/cgroup", "its own scan cgroups"),
    ("scan/leftovers", "its own scan cgroups, of an agent that was killed"),
    ("control/", "its own socket"),
];

/// What has somebody else remove: the program, and the ways to run one in a container. Clippy refuses kube's others.
const REMOTE: [&str; 4] = ["\"rm\"", "RmCommand(", ".exec(", ".portforward("];

/// Files that may, with what they do.
const REMOTE_ALLOWED: [(&str, &str); 2] = [
    ("sweep/exec/command.rs", "makes the commands of executor Exec, and is the only one that can"),
    ("kubernetes/exec.rs", "hands such a command to the API server"),
];

#[test]
fn nothing_else_removes() {
    assert_eq!(lines_with(&FORBIDDEN, &ALLOWED), Vec::<String>::new());
}

#[test]
fn nothing_else_has_a_container_remove() {
    assert_eq!(lines_with(&REMOTE, &REMOTE_ALLOWED), Vec::<String>::new());
}

#[test]
fn every_exception_is_needed() {
    let needless = |calls: &[&str], (file, _): &&(&str, &str)| {
        !lines_with(calls, &[]).iter().any(|line| line.starts_with(*file))
    };
    let needless_ones = ALLOWED.iter().filter(|allowed| needless(&FORBIDDEN, allowed));
    let remote = REMOTE_ALLOWED.iter().filter(|allowed| needless(&REMOTE, allowed));
    assert_eq!(needless_ones.chain(remote).collect::<Vec<_>>(), Vec::<&(&str, &str)>::new());
}

/// Lines of the program, tests left out, with one of these calls in a file that is not allowed.
fn lines_with(calls: &[&str], allowed: &[(&str, &str)]) -> Vec<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for path in rust_files(&sources) {
        let relative = path.strip_prefix(&sources).unwrap().to_string_lossy().into_owned();
        let is_test = relative.contains("/tests") || relative.contains("test_bed");
        if is_test || allowed.iter().any(|(allowed, _)| relative.starts_with(allowed)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in program.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            if calls.iter().any(|call| code.contains(call)) {
                found.push(format!("{relative}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                rust_files(&path)
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                vec![path]
            } else {
                Vec::new()
            }
        })
        .collect()
}
