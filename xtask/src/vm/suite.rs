//! The tests that run in guests: the host's own binaries, run by the host's own nextest, with the same filters.
//!
//! In: what `cargo nextest list` says on the host. Out: a payload and the command that runs them. Must never build
//! anything for guests alone: what is tested there is what was tested here.

use std::io::{IsTerminal as _, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use super::payload::{Payload, script};
use crate::command::{cargo, root, step};
use crate::levels;

/// Limits of one test, and the JUnit file, for guests: in `.config/nextest.toml`.
const PROFILE: &str = "vm";
/// Files of the repository without which nextest does not start.
const READ_BY_NEXTEST: [&str; 2] = ["Cargo.toml", ".config/nextest.toml"];
/// What the tests are told; CONTRIBUTING.md has the meaning of each.
const ENVIRONMENT: [(&str, &str); 4] = [
    // Files that tests make are on a disk, as on the host: on a tmpfs, no limit of I/O applies.
    ("TMPDIR", "/var/tmp"),
    // Debian's kernels have all of these: what is not tried there is a failure.
    ("PODSWEEP_TEST_TIERS", "lsm,fexit,sys_exit"),
    ("PODSWEEP_TEST_FACILITIES", "xfs,io_uring"),
    // A twentieth of the host's: a guest in TCG takes some ten times as long for each, and has three tiers to try.
    ("PODSWEEP_TEST_STORM_FILES", "1000"),
];
/// Tests that run on the host and not in guests: a filter for each, and why.
const NOT_IN_GUESTS: [(&str, &str); 8] = [
    ("test(=cgroups_of_v1_hierarchies_are_not_told_of)", "a guest has no v1 hierarchy to be confused with"),
    ("test(/^sweep::tests::sources::/)", "reads the source code, which is the same for every kernel"),
    ("test(/^sweep::tests::properties::/)", "hundreds of containers: minutes for each property in TCG"),
    ("(package(podsweep) and binary(cli))", "what commands print is the same on every kernel"),
    ("test(/^report::(journal|state_dir)::tests::/)", "files of podsweep's own are the same on every kernel"),
    (
        "(package(podsweep) and binary(scan) and test(/^walk::/))",
        "what a walk finds is the same on every kernel",
    ),
    ("test(=limits::a_small_quota_holds_the_worker_back)", "vm_limits has the same with less work"),
    ("test(=ends::time_in_which_nobody_reads_is_not_the_walks)", "its deadline is for a machine's own speed"),
];

/// The tests, as nextest on the host knows them.
#[derive(Debug)]
pub(crate) struct Suite {
    listed: Value,
    filter: String,
}

impl Suite {
    /// Builds what is not built, and lists.
    pub(crate) fn list() -> Result<Self> {
        let wanted = levels::in_guests();
        let left_out = NOT_IN_GUESTS.map(|(filter, _)| filter).join(" + ");
        let filter = format!("({wanted}) - ({left_out})");
        for (what, why) in NOT_IN_GUESTS {
            step(&format!("vm: not run: {what}: {why}"));
        }
        let mut list = cargo();
        list.args([
            "nextest",
            "list",
            "--workspace",
            "--cargo-quiet",
            "--message-format",
            "json",
            "-E",
            &filter,
        ]);
        let listed = list.stderr(std::process::Stdio::inherit()).output().context("cannot start cargo")?;
        if !listed.status.success() {
            bail!("`cargo nextest list` failed ({})", listed.status);
        }
        Ok(Self { listed: serde_json::from_slice(&listed.stdout)?, filter })
    }

    /// Puts the tests' binaries, and every program that they start, where the guest finds them; and the command that
    /// runs them, which passes `arguments` on to nextest.
    pub(crate) fn pack(&self, payload: &mut Payload, arguments: &[String]) -> Result<()> {
        payload.show(&root())?;
        let target = self.path(&["rust-build-meta", "target-directory"])?;
        payload.show(&target)?;
        for file in READ_BY_NEXTEST {
            payload.add_file(&root().join(file))?;
        }
        let binaries = binaries(&self.listed)?;
        for binary in binaries.values() {
            payload.add_program(&path(binary, "binary-path")?)?;
            payload.add_folder(&path(binary, "cwd")?)?;
        }
        for program in programs(&self.listed, &target) {
            payload.add_program(&program)?;
        }
        let metadata = json!({"rust-build-meta": self.listed["rust-build-meta"], "rust-binaries": binaries});
        payload.add_text("binaries.json", &metadata.to_string())?;
        payload.add_text("cargo.json", &cargo_metadata()?)?;
        payload.set_command(&self.command(arguments))
    }

    fn command(&self, arguments: &[String]) -> String {
        let fixed = ["cargo-nextest", "nextest", "run", "--profile", PROFILE, "--show-progress", "none"];
        let metadata =
            ["--cargo-metadata", "/payload/cargo.json", "--binaries-metadata", "/payload/binaries.json"];
        let filter = ["-E", self.filter.as_str()];
        let color = ["--color", if stdout().is_terminal() { "always" } else { "never" }];
        let words = fixed.into_iter().chain(metadata).chain(color).chain(filter).map(str::to_owned);
        let words: Vec<_> = words.chain(arguments.iter().cloned()).collect();
        let folder = script(&[root().to_string_lossy().into_owned()]);
        let junit = format!("target/nextest/{PROFILE}/junit.xml");
        let environment = ENVIRONMENT.map(|(name, value)| format!("export {name}={value}")).join("\n");
        format!(
            "{environment}\ncd {folder} || exit\n{}\ncode=$?\ncp {junit} /results\nexit $code",
            script(&words)
        )
    }

    fn path(&self, keys: &[&str]) -> Result<PathBuf> {
        let value = keys.iter().fold(&self.listed, |value, key| &value[*key]);
        value.as_str().map(PathBuf::from).with_context(|| format!("nextest's list has no {}", keys.join(".")))
    }
}

fn path(of: &Value, key: &str) -> Result<PathBuf> {
    of[key].as_str().map(PathBuf::from).with_context(|| format!("nextest's list: {of}: no {key}"))
}

/// The binaries that hold a wanted test, in the form of nextest's list of binaries.
fn binaries(listed: &Value) -> Result<Map<String, Value>> {
    let suites = listed["rust-suites"].as_object().context("nextest lists no binaries")?;
    let wanted = suites.iter().filter(|(_, suite)| has_tests(suite));
    let mut binaries: Map<_, _> = wanted.map(|(id, suite)| (id.clone(), suite.clone())).collect();
    for binary in binaries.values_mut().filter_map(Value::as_object_mut) {
        binary.remove("testcases");
    }
    if binaries.is_empty() {
        bail!("no test is for guests");
    }
    Ok(binaries)
}

fn has_tests(suite: &Value) -> bool {
    let tests = suite["testcases"].as_object();
    tests.is_some_and(|tests| tests.values().any(|test| test["filter-match"]["status"] == "matches"))
}

/// Every program of the workspace that tests start.
fn programs(listed: &Value, target: &Path) -> Vec<PathBuf> {
    let packages = listed["rust-build-meta"]["non-test-binaries"].as_object();
    let programs = packages.into_iter().flat_map(Map::values).filter_map(Value::as_array).flatten();
    programs.filter_map(|program| program["path"].as_str()).map(|path| target.join(path)).collect()
}

fn cargo_metadata() -> Result<String> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--format-version", "1", "--all-features"]);
    let metadata = metadata.output().context("cannot start cargo")?;
    if !metadata.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&metadata.stderr).trim());
    }
    String::from_utf8(metadata.stdout).context("cargo metadata")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> Value {
        json!({
            "rust-build-meta": {
                "target-directory": "/t",
                "non-test-binaries": {"a": [{"name": "podsweep", "path": "debug/podsweep"}]},
            },
            "rust-suites": {
                "tests::wanted": {
                    "binary-path": "/t/debug/deps/wanted-1", "cwd": "/repo/tests",
                    "testcases": {"one": {"filter-match": {"status": "matches"}},
                                  "two": {"filter-match": {"status": "mismatch", "reason": "expression"}}},
                },
                "tests::other": {
                    "binary-path": "/t/debug/deps/other-1", "cwd": "/repo/tests",
                    "testcases": {"one": {"filter-match": {"status": "mismatch", "reason": "expression"}}},
                },
                "tests::skipped": {"binary-path": "/t/debug/deps/skipped-1", "cwd": "/repo", "testcases": {}},
            },
        })
    }

    #[test]
    fn only_binaries_with_a_wanted_test_go_along() {
        let binaries = binaries(&listed()).unwrap();
        assert_eq!(binaries.keys().collect::<Vec<_>>(), ["tests::wanted"]);
        assert_eq!(
            binaries["tests::wanted"],
            json!({"binary-path": "/t/debug/deps/wanted-1", "cwd": "/repo/tests"})
        );
    }

    #[test]
    fn programs_that_tests_start_go_along() {
        assert_eq!(programs(&listed(), "/t".as_ref()), [PathBuf::from("/t/debug/podsweep")]);
    }

    #[test]
    fn no_test_at_all_is_an_error() {
        assert!(binaries(&json!({"rust-suites": {}})).is_err());
    }

    #[test]
    fn what_follows_the_dashes_reaches_nextest_in_the_guest() {
        let suite = Suite { listed: listed(), filter: "all()".into() };
        let command = suite.command(&["it's".to_owned()]);
        assert!(command.contains(r"'-E' 'all()' 'it'\''s'"), "{command}");
    }
}
