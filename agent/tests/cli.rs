//! The program as people and scripts meet it: exit codes, what goes to stdout and what to stderr, against a real
//! control endpoint.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic, and is nobody's library")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use podsweep::control::view::{BreakerState, BreakerView, ContainerView, Status, SweepRequest, SweepsQuery};
use podsweep::control::{Endpoints, ExplainRequest, Listeners, Node, Refused, RefusedKind, serve};
use podsweep::gate::Standing;
use podsweep::policy::{Fired, Mode};
use podsweep::report::{Health, Outcome, Phase, Subject, SweepFigures, SweepRecord};
use podsweep::scan::Kept;
use tokio_util::sync::CancellationToken;

const ID: &str = "01JD6Q3M8Z6T4V8WZJ9Q2C5R7N";

struct Canned;

fn no(kind: RefusedKind, reason: &str) -> Refused {
    Refused::new(kind, reason, format!("because of {reason}"))
}

fn record() -> SweepRecord {
    SweepRecord {
        id: ID.into(),
        container: Subject {
            cgroup: 7,
            cgroup_path: "/docker/x".into(),
            id: "x".repeat(64),
            name: "shop/cart\u{1b}[31m/app".into(),
            image: Some("cart:2".into()),
            pid: 1,
            start_time: 1,
        },
        policy: "scratch".into(),
        mode: Mode::Enforce,
        fired: Fired::Burst { creates_per_second: 812.4, limit: 200, held_seconds: 10.1 },
        top_directories: vec![("/tmp/cache".into(), 180_000)],
        started_at: "2026-11-21T12:00:00Z".into(),
        ended_at: Some("2026-11-21T12:02:00Z".into()),
        phase: Phase::Ended,
        outcome: Some(Outcome::Partial),
        reason: Some("StopWhen".into()),
        message: Some("enough inodes are free".into()),
        refusal: None,
        scan: None,
        sweep: SweepFigures {
            removed: 199_996,
            removed_bytes: 819_000_000,
            kept: [(Kept::Open, 3)].into(),
            batches: 1000,
            wall_ms: 52_000,
            ..SweepFigures::default()
        },
        health: Some(Health::Healthy),
        health_reason: None,
        notes: vec!["PrefixIsSymlink: /var/run -> /run".into()],
        attempt: 0,
    }
}

impl Node for Canned {
    fn status(&self) -> Result<Status, Refused> {
        Ok(Status {
            version: "1.2.3".into(),
            tier: "fexit".into(),
            sweeps_enabled: true,
            ..Status::default()
        })
    }
    fn containers(&self) -> Result<Vec<ContainerView>, Refused> {
        Ok(Vec::new())
    }
    fn sweeps(&self, _query: &SweepsQuery) -> Result<Vec<SweepRecord>, Refused> {
        Ok(vec![record(); 3])
    }
    fn sweep(&self, id: &str) -> Result<SweepRecord, Refused> {
        if id == ID { Ok(record()) } else { Err(no(RefusedKind::NotFound, "NoSuchSweep")) }
    }
    fn request_sweep(&self, _request: SweepRequest) -> Result<String, Refused> {
        Ok(ID.into())
    }
    fn explain(&self, _request: ExplainRequest) -> Result<Standing, Refused> {
        Ok(Standing::default())
    }
    fn cancel_sweep(&self, _id: &str) -> Result<(), Refused> {
        Ok(())
    }
    fn breakers(&self) -> Result<Vec<BreakerView>, Refused> {
        let (name, state) = ("global".into(), BreakerState::Open);
        Ok(vec![BreakerView { name, state, reason: Some("OomKilled".into()), until: None }])
    }
    fn reset_breaker(&self, _name: &str) -> Result<(), Refused> {
        Err(no(RefusedKind::Invalid, "NoSuchBreaker"))
    }
    fn pause(&self, _reason: &str) -> Result<(), Refused> {
        Ok(())
    }
    fn resume(&self) -> Result<(), Refused> {
        Err(no(RefusedKind::Conflict, "NotPaused"))
    }
    fn healthy(&self) -> Result<(), String> {
        Ok(())
    }
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
    fn metrics(&self) -> Result<String, Refused> {
        Ok(String::new())
    }
}

fn podsweep(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podsweep"));
    command.env_clear().env("PODSWEEP_SOCKET", socket).stdin(Stdio::null());
    command
}

/// Runs `podsweep ARGUMENTS` with an agent behind its socket.
async fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("a.sock");
    let endpoints = Endpoints { socket: socket.clone(), listen: None, token_file: None };
    let stop = CancellationToken::new();
    let listeners = Listeners::bind(&endpoints).await.unwrap();
    let served = tokio::spawn(serve(Arc::new(Canned), listeners, stop.clone()));
    let mut command = podsweep(&socket);
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    stop.cancel();
    served.await.unwrap();
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn json_is_one_value_and_nothing_else() {
    for arguments in [
        &["history", "-o", "json"][..],
        &["history", ID, "-o", "json"],
        &["status", "-o", "json"],
        &["breakers", "-o", "json"],
    ] {
        let output = run(arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[tokio::test]
async fn tables_fit_a_hundred_columns_and_cannot_drive_the_terminal() {
    for arguments in [&["history"][..], &["history", ID], &["status"], &["breakers"]] {
        let output = run(arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        let stdout = text(&output.stdout);
        assert!(stdout.lines().all(|line| line.chars().count() <= 100), "{stdout}");
        assert!(!stdout.contains('\u{1b}'), "{stdout}");
    }
    let shown = run(&["history", ID]).await;
    for figure in
        ["Partial/StopWhen: enough inodes", "199,996 files (781Mi)", "Open 3", "/tmp/cache (180,000)", "812"]
    {
        assert!(text(&shown.stdout).contains(figure), "{figure}: {}", text(&shown.stdout));
    }
}

#[tokio::test]
async fn a_no_is_1_a_senseless_request_is_2_and_both_say_why_in_the_first_line() {
    for (arguments, code, says) in [
        (&["resume"][..], 1, "podsweep: because of NotPaused (NotPaused)"),
        (&["history", "01XYZ"], 1, "podsweep: because of NoSuchSweep (NoSuchSweep)"),
        (&["breakers", "reset", "nonsense"], 2, "podsweep: because of NoSuchBreaker (NoSuchBreaker)"),
        (&["history", "--limit", "0"], 2, "error: invalid value '0' for '--limit <N>': 0 is not in 1..=1000"),
        (&["scan", "pid:1"], 2, "podsweep: name a policy file: --policy FILE"),
        (
            &["explain", "tmp/x", "--container", "pid:1"],
            2,
            "podsweep: PATH is the file as the container sees it",
        ),
    ] {
        let output = run(arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).starts_with(says), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[tokio::test]
async fn pausing_is_confirmed() {
    let output = run(&["pause", "disk replacement"]).await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert!(text(&output.stdout).contains("podsweep resume"));
}

#[test]
fn without_an_agent_the_first_line_says_what_to_do() {
    let output = podsweep(Path::new("/nonexistent/a.sock")).arg("status").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("/nonexistent/a.sock") && stderr.contains("podsweep agent"), "{stderr}");
}

#[test]
fn a_reader_that_leaves_ends_the_program_quietly_and_never_with_success() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = podsweep(Path::new("/nonexistent"));
    let output = command.args(["check", "/nonexistent.yaml"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(141), ""));
}

const POLICY: &str = "apiVersion: podsweep.io/v1alpha1
kind: SweepPolicy
metadata: {name: scratch}
spec:
  select: {images: ['cart:*']}
  junk:
  - {name: tmp, paths: ['/tmp/**'], olderThan: 10m}
";

#[test]
fn check_names_file_line_and_remedy_and_tells_good_from_bad() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good.yaml"), folder.path().join("bad.yaml"));
    std::fs::write(&good, POLICY).unwrap();
    std::fs::write(&bad, POLICY.replace("10m", "10x")).unwrap();
    let check =
        |files: &[&Path]| podsweep(Path::new("/nonexistent")).arg("check").args(files).output().unwrap();
    let output = check(&[&good]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let output = check(&[&good, &bad]);
    assert_eq!(output.status.code(), Some(2));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("good.yaml: ok"), "{stdout}");
    std::fs::write(&bad, POLICY.replace("10m", "10x").replace("kind: SweepPolicy", "kind: Sweep")).unwrap();
    let folder = check(&[folder.path()]);
    assert!(!text(&folder.stdout).contains("\\u{a}"), "one line for each fault: {}", text(&folder.stdout));
    assert!(stdout.contains("bad.yaml:7:") && stdout.contains("spec.junk[0].olderThan"), "{stdout}");
}

#[tokio::test]
async fn a_sweep_by_hand_is_the_agents_where_one_runs() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("p.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let output = run(&["sweep", "pid:1", "--policy", policy.to_str().unwrap(), "-o", "json"]).await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let shown: SweepRecord = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown, record());
    let output = run(&["sweep", "pid:1", "--policy", "/nonexistent.yaml"]).await;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn every_regular_file_of_a_directory_is_printed_as_find_prints_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tree");
    let old = std::time::SystemTime::now() - std::time::Duration::from_mins(1);
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    for name in ["one", "a/two", "a/b/new\nline"] {
        let file = std::fs::File::create(root.join(name)).unwrap();
        file.set_modified(old).unwrap();
    }
    std::os::unix::fs::symlink("one", root.join("link")).unwrap();
    // The change time cannot be set: files younger than the built-in ten seconds are kept.
    std::thread::sleep(std::time::Duration::from_millis(10_500));
    let target = format!("dir:{}", root.display());
    let output =
        podsweep(Path::new("/nonexistent")).args(["scan", &target, "--print", "-0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let found = Command::new("find").arg(&root).args(["-type", "f", "-print0"]).output().unwrap();
    let sorted = |bytes: &[u8]| {
        let mut paths: Vec<_> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        paths.sort();
        paths
    };
    assert_eq!(sorted(&output.stdout), sorted(&found.stdout));
}
