//! Names chosen to be more than names: junk among them goes like any other, and nothing that is said of them (journal,
//! log, metrics, history, the command line) holds a byte that a terminal or a reader of lines would take for its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use podsweep::report::Outcome;
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use podsweep_tests::exposition;
use podsweep_tests::hostile_names::{drives_a_terminal, fill, names};
use podsweep_tests::image::program;
use podsweep_tests::policies::{BURST, FAST, Scratch};
use podsweep_tests::terminal::on_a_terminal;
use podsweep_tests::wait;
use podsweep_tests::workspace::Workspace;
use serde_json::Value;

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const SEEN_WITHIN: Duration = Duration::from_mins(1);
const SWEPT_WITHIN: Duration = Duration::from_mins(1);
/// Where the container storms. Only text: runc takes its arguments in JSON.
const STORMED: &str = "/tmp/\u{1b}[31m\n\"},{policy=\"x\"} 1\u{9b}2J\u{7f}\u{202e}";
/// Some 200 files a second, for longer than a burst must last.
const STORM: &str = "busybox mkdir \"$1\"; cd \"$1\"; i=0
    while [ $i -lt 6000 ]; do i=$((i+1)); : > $i; busybox usleep 3000; done";

fn must_be_clean(what: &str, text: &str) {
    let dirt: BTreeSet<char> = text.chars().filter(|c| drives_a_terminal(*c)).collect();
    assert!(
        dirt.is_empty(),
        "{what} holds {dirt:?}:\n{:?}",
        text.lines().find(|line| line.contains(|c| dirt.contains(&c)))
    );
}

/// Every line must be an object by itself.
fn json_lines(what: &str, bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    must_be_clean(what, text);
    let object = |line: &str| {
        let value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{what}: {error}: {line:?}"));
        assert!(matches!(value, Value::Object(_)), "{what}: {line:?}");
        value
    };
    text.lines().map(object).collect()
}

/// The paths that the journal says were to be removed.
fn journalled(agent: &Agent) -> BTreeSet<Vec<u8>> {
    let files = fs::read_dir(agent.path("state")).unwrap().flatten();
    let journal = files.filter(|file| file.file_name().to_string_lossy().starts_with("audit.jsonl"));
    let lines = journal.flat_map(|file| json_lines("the journal", &fs::read(file.path()).unwrap()));
    lines.filter_map(|line| path_of(&line)).collect()
}

fn path_of(line: &Value) -> Option<Vec<u8>> {
    let pair = |hex: &[u8]| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap();
    match (&line["path"], &line["pathHex"]) {
        (Value::String(path), _) => Some(path.clone().into_bytes()),
        (_, Value::String(hex)) => Some(hex.as_bytes().chunks(2).map(pair).collect()),
        _ => None,
    }
}

#[test]
fn what_is_said_of_them_is_text() {
    let container = Container::start(PREFIX).unwrap();
    let files = fill(&container.inside("/tmp/names").unwrap()).unwrap();
    let policy = Scratch { name: "burst", mode: "Enforce", triggers: BURST, sweep: FAST }.of(&container);
    let agent = Agent::start(PREFIX, &[("burst", &policy)]).unwrap();
    let id = container.cgroup_id().unwrap();
    agent.knows(id, KNOWN_WITHIN).unwrap();

    let (config, socket) = (agent.path("podsweep.yaml"), agent.path("podsweep.sock"));
    let variables = [("PODSWEEP_CONFIG", config.as_os_str()), ("PODSWEEP_SOCKET", socket.as_os_str())];
    let on_a_terminal = |words: &[&OsStr]| {
        let seen = on_a_terminal(words, &variables).unwrap();
        must_be_clean(&format!("{words:?}"), &seen);
        seen
    };
    let cgroup = container.cgroup().path();
    let of_container = [OsStr::new("--container"), OsStr::new(&cgroup)];
    for name in names() {
        let path = [b"/tmp/names/", name.as_slice()].concat();
        let seen =
            on_a_terminal(&[&[OsStr::new("explain"), OsStr::from_bytes(&path)][..], &of_container].concat());
        assert!(seen.contains("TooYoung") || seen.contains("Delete"), "{seen}");
    }

    let mut storm = container.spawn(&["/bin/sh", "-c", STORM, "sh", STORMED], &[]).unwrap();
    let asked = || Ok(agent.api().sweeps_of(id)?.into_iter().next());
    let sweep = wait::until("the burst is seen", SEEN_WITHIN, asked);
    let sweep = agent.ended(&sweep.unwrap().id, SWEPT_WITHIN).unwrap();
    storm.kill().unwrap();
    storm.wait().unwrap();

    assert_eq!(sweep.outcome, Some(Outcome::Complete), "{sweep:?}");
    let left: Vec<_> = fs::read_dir(container.upper().join("tmp/names")).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| entry.file_type().unwrap().is_dir()), "{left:?}");
    assert!(sweep.sweep.removed >= files, "{sweep:?}");
    assert!(sweep.top_directories.iter().any(|(path, _)| path.contains("31m")), "{sweep:?}");
    let written = journalled(&agent);
    let missing: Vec<_> = names()
        .into_iter()
        .filter(|name| !written.contains(&[b"/tmp/names/", name.as_slice()].concat()))
        .collect();
    assert!(missing.is_empty(), "not in the journal: {missing:?}");
    assert!(!json_lines("the log", agent.log().as_bytes()).is_empty());
    assert!(exposition::parse(&agent.api().metrics().unwrap()).unwrap().len() > 10);
    let of_sweep = on_a_terminal(&[OsStr::new("history"), OsStr::new(&sweep.id)]);
    assert!(of_sweep.contains("31m"), "{of_sweep}");
    for words in
        [&["history"][..], &["history", "-o", "json"], &["history", &sweep.id, "-o", "json"], &["status"]]
    {
        assert!(!on_a_terminal(&words.iter().map(OsStr::new).collect::<Vec<_>>()).is_empty());
    }
}

#[test]
fn a_scan_shows_them_as_text_and_hands_them_on_as_they_are() {
    let home = Workspace::new(PREFIX).unwrap();
    let folder = home.folder("names").unwrap();
    let files = fill(&folder).unwrap();
    let slice = format!("{}.slice", home.name());
    let config = home.path().join("podsweep.yaml");
    fs::write(&config, format!("{{scanCgroup: {slice}, state: {}/state}}", home.path().display())).unwrap();
    std::thread::sleep(Duration::from_millis(10_500)); // older than the ten seconds that a scan never goes below
    let target = format!("dir:{}", folder.display());

    for words in [&["scan", &target][..], &["scan", &target, "-o", "json"], &["scan", &target, "--print"]] {
        let words: Vec<_> = words.iter().map(OsStr::new).collect();
        let seen = on_a_terminal(&words, &[("PODSWEEP_CONFIG", config.as_os_str())]).unwrap();
        assert!(seen.contains("cleared"), "{seen}");
        must_be_clean(&format!("{words:?}"), &seen);
    }

    let mut piped = Command::new(program("podsweep").unwrap());
    piped.args(["scan", &target, "--print", "-0"]).env("PODSWEEP_CONFIG", &config);
    let output = piped.output().unwrap();
    let printed: BTreeSet<&[u8]> =
        output.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty()).collect();
    assert_eq!(printed.len() as u64, files, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.iter().all(|path| Path::new(OsStr::from_bytes(path)).exists()));
    podsweep_tests::cgroup::remove(&slice).unwrap();
}
