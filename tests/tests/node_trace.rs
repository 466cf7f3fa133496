//! Every system call of a sweep, traced: what removes is one process, every name is relative to a handle, and nobody
//! else changes anything but podsweep's own files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use podsweep_tests::container::Container;
use podsweep_tests::image::program;
use podsweep_tests::policies::Rules;
use podsweep_tests::workload::Plan;
use podsweep_tests::workspace::Workspace;
use serde_json::{Value, json};

const PREFIX: &str = "podsweep-test";
const STORM_WITHIN: Duration = Duration::from_mins(1);
const FILES: u32 = 100;

/// One line of the trace.
#[derive(Debug)]
struct Call<'t> {
    pid: &'t str,
    name: &'t str,
    arguments: &'t str,
}

impl<'t> Call<'t> {
    /// `PID name(arguments) = result`; the first half of a call that another thread interrupted has its arguments.
    fn parse(line: &'t str) -> Option<Self> {
        let (pid, rest) = line.split_once(' ')?;
        let (name, arguments) = rest.trim_start().split_once('(')?;
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then_some(Self { pid, name, arguments })
    }

    /// Strings among the arguments. strace prints bytes that are no text as escapes.
    fn strings(&self) -> Vec<&'t str> {
        self.arguments.split('"').skip(1).step_by(2).collect()
    }

    fn changes(&self) -> bool {
        let changing_open = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"];
        matches!(
            self.name,
            "unlink" | "unlinkat" | "rmdir" | "rename" | "renameat" | "renameat2" | "truncate" | "ftruncate"
        ) || (self.name.starts_with("open") && changing_open.iter().any(|flag| self.arguments.contains(flag)))
    }
}

/// A sweep of a container by hand, traced. Its record and the trace.
fn traced(container: &Container, workspace: &Workspace, junk: &str) -> (Value, String) {
    let folder = workspace.path();
    let rules = Rules {
        name: "trace",
        junk,
        scan: podsweep_tests::policies::SCAN,
        sweep: "{batchSize: 50, batchInterval: 10ms}",
    };
    fs::write(folder.join("policy.yaml"), rules.of(container)).unwrap();
    let config = json!({
        "policies": folder.join("policies"), "state": folder.join("state"),
        "socket": folder.join("podsweep.sock"), "scanCgroup": format!("{}.slice", workspace.name()),
    });
    fs::write(folder.join("podsweep.yaml"), config.to_string()).unwrap();
    let trace = folder.join("trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-s", "4096", "-e", "trace=%file,%desc,%process,seccomp,setns,unshare", "-o"])
        .arg(&trace)
        .arg(program("podsweep").unwrap())
        .args(["sweep", &container.cgroup().path(), "--policy"])
        .arg(folder.join("policy.yaml"))
        .args(["-o", "json", "--config"])
        .arg(folder.join("podsweep.yaml"))
        .output()
        .expect("strace: apt-get install strace");
    let record = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (record, fs::read_to_string(trace).unwrap())
}

#[test]
fn only_the_deleter_changes_the_container_and_by_names_relative_to_handles() {
    let mut container = Container::start(PREFIX).unwrap();
    container.storm(&Plan { odd: 0, ..Plan::small(FILES) }, STORM_WITHIN).unwrap();
    assert!(container.exec(&["/bin/busybox", "mkdir", "-p", "/tmp/deep/er"]).unwrap().status.success());
    for path in ["/tmp/deep/er/file", "/tmp/deep/app.log"] {
        let write = format!("echo content > {path}");
        assert!(container.exec(&["/bin/busybox", "sh", "-c", &write]).unwrap().status.success());
    }
    container.grow_old();
    let workspace = Workspace::new(PREFIX).unwrap();
    let junk = "[{name: logs, paths: ['/tmp/**/*.log'], olderThan: 10s, action: Truncate}, \
                {name: tmp, paths: ['/tmp/**'], exclude: ['**/*.log'], olderThan: 10s, emptyDirectories: true}]";
    let (record, trace) = traced(&container, &workspace, junk);
    assert_eq!(record["outcome"], "Complete", "{record}");
    let removed = record["sweep"]["removed"].as_u64().unwrap();
    let directories = record["sweep"]["removedDirectories"].as_u64().unwrap();
    assert!(removed > 50 && directories >= 1, "{record}");

    let calls: Vec<_> = trace.lines().filter_map(Call::parse).collect();
    let started: Vec<_> =
        calls.iter().filter(|call| call.name == "execve" && call.arguments.contains("\"deleter\"")).collect();
    assert_eq!(started.len(), 1, "one deleter for one sweep: {started:?}");
    let pid = started[0].pid;
    let deleter: Vec<_> = calls.iter().filter(|call| call.pid == pid).collect();
    let confined = deleter.iter().position(|call| call.name == "seccomp").expect("no filter");

    let mut changes = 0;
    for call in &deleter[confined + 1..] {
        assert!(!call.arguments.contains("AT_FDCWD"), "{call:?}");
        for path in call.strings() {
            assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{call:?}");
        }
        if matches!(call.name, "unlinkat" | "ftruncate") {
            changes += 1;
            assert!(call.strings().iter().all(|name| !name.contains('/')), "{call:?}");
        }
        assert!(
            !matches!(call.name, "setns" | "unshare" | "execve" | "clone" | "clone3" | "fork"),
            "{call:?}"
        );
    }
    assert_eq!(changes, removed + directories, "each change is on record");

    let own = [workspace.path(), Path::new("/sys/fs/cgroup"), Path::new("/dev"), Path::new("/proc")];
    for call in calls.iter().filter(|call| call.pid != pid && call.changes() && call.name != "ftruncate") {
        let strings = call.strings();
        let path = Path::new(strings.first().copied().unwrap_or_default());
        assert!(own.iter().any(|own| path.starts_with(own)), "{call:?}");
    }
    let namespaces = calls.iter().filter(|call| matches!(call.name, "setns" | "unshare"));
    assert_eq!(namespaces.count(), 0, "nobody enters a namespace");
}
