//! The command line on a real container, with no agent running: it looks, says why, sweeps once with every guard
//! asked, and says no where one says no.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use podsweep_tests::cgroup;
use podsweep_tests::container::Container;
use podsweep_tests::image::program;
use podsweep_tests::listing::{Listing, list};
use podsweep_tests::policies::Scratch;
use podsweep_tests::workload::Plan;
use podsweep_tests::workspace::Workspace;
use serde_json::{Value, json};

const PREFIX: &str = "podsweep-test";
const STORM_WITHIN: Duration = Duration::from_mins(1);
const FILES: u32 = 300;

/// The program, with a configuration and a policy of its own.
struct Shell {
    workspace: Workspace,
    policy: PathBuf,
    target: String,
}

impl Shell {
    fn new(container: &Container) -> Self {
        let workspace = Workspace::new(PREFIX).unwrap();
        let folder = workspace.path();
        let policy = folder.join("policy.yaml");
        fs::write(&policy, Scratch::by_hand("hand").of(container)).unwrap();
        let config = json!({
            "policies": folder.join("policies"), "state": folder.join("state"),
            "socket": folder.join("podsweep.sock"), "scanCgroup": format!("{}.slice", workspace.name()),
        });
        fs::write(folder.join("podsweep.yaml"), config.to_string()).unwrap();
        Self { workspace, policy, target: container.cgroup().path() }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut podsweep = self.in_its_place(Command::new(program("podsweep").unwrap()));
        podsweep.args(words).arg("--policy").arg(&self.policy).args(["-o", "json"]).output().unwrap()
    }

    /// What a person sees of it on a terminal: script(1) makes one.
    fn on_a_terminal(&self, words: &str) -> String {
        let (podsweep, policy) = (program("podsweep").unwrap(), &self.policy);
        let line = format!("{} {words} --policy {}", podsweep.display(), policy.display());
        let mut script = self.in_its_place(Command::new("script"));
        let output =
            script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::null());
        let output = output.env("TERM", "xterm").output().unwrap();
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{seen}");
        seen
    }

    fn in_its_place(&self, mut command: Command) -> Command {
        let folder = self.workspace.path();
        command.env("PODSWEEP_CONFIG", folder.join("podsweep.yaml"));
        command.env("PODSWEEP_SOCKET", folder.join("podsweep.sock"));
        command
    }

    /// What it prints, and whether it calls that good.
    fn json(&self, words: &[&str]) -> (Value, bool) {
        let output = self.run(words);
        let printed = serde_json::from_slice(&output.stdout);
        let value = printed.unwrap_or_else(|error| panic!("{words:?}: {error}: {output:?}"));
        (value, output.status.success())
    }

    /// The answer that decides about a path.
    fn explain(&self, path: &str) -> (u64, String) {
        let (steps, good) = self.json(&["explain", path, "--container", &self.target]);
        assert!(good, "{steps}");
        let deciding: Vec<_> =
            steps.as_array().unwrap().iter().filter(|step| step["deciding"] == true).collect();
        assert_eq!(deciding.len(), 1, "{steps}");
        (deciding[0]["level"].as_u64().unwrap(), deciding[0]["answer"].as_str().unwrap().to_owned())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = cgroup::remove(&format!("{}.slice", self.workspace.name()));
    }
}

fn storm_files(container: &Container) -> Listing {
    list(&container.root().unwrap(), &["/tmp", "/app/cache", "/srv"]).unwrap()
}

#[test]
fn commands_look_explain_sweep_once_and_take_no_for_an_answer() {
    let mut container = Container::start(PREFIX).unwrap();
    let shell = Shell::new(&container);
    container.storm(&Plan { odd: 0, ..Plan::small(FILES) }, STORM_WITHIN).unwrap();
    container.grow_old();
    let before = storm_files(&container);

    let (found, good) = shell.json(&["scan", &shell.target]);
    assert!(good, "{found}");
    assert_eq!(found["sweep"]["wouldRemove"], FILES, "{found}");
    assert_eq!(storm_files(&container), before);

    let (level, answer) = shell.explain("/app/cache/download-1.part");
    assert_eq!((level, answer.as_str()), (4, "yes: Delete"));
    let (level, answer) = shell.explain("/tmp/from-image-0.txt");
    assert!(level == 0 && answer.contains("also in"), "{level} {answer}");
    let (level, answer) = shell.explain("/proc/self/status");
    assert!(level == 0 && answer.contains("/proc"), "{level} {answer}");
    let (level, answer) = shell.explain("/app/data/heartbeat");
    assert!(level == 4 && answer.ends_with("stays"), "{level} {answer}");

    let (swept, good) = shell.json(&["sweep", &shell.target]);
    assert!(good, "{swept}");
    assert_eq!(
        (&swept["sweep"]["removed"], &swept["outcome"]),
        (&json!(FILES), &json!("Complete")),
        "{swept}"
    );
    assert_eq!(swept["health"], "Healthy", "{swept}");

    let (refused, good) = shell.json(&["sweep", &shell.target]);
    assert!(!good, "{refused}");
    assert_eq!(
        (&refused["outcome"], &refused["reason"]),
        (&json!("Refused"), &json!("CoolDown")),
        "{refused}"
    );
}

#[test]
fn progress_shows_on_a_terminal_and_nowhere_else() {
    let mut container = Container::start(PREFIX).unwrap();
    let shell = Shell::new(&container);
    container.storm(&Plan { odd: 0, ..Plan::small(FILES) }, STORM_WITHIN).unwrap();
    container.grow_old();

    // A turning spinner redraws its line: to its beginning, and clear to its end.
    let redraws = |seen: &str| seen.matches('\r').count() > 2 && seen.contains("\u{1b}[2K");
    let shows = |seen: &str, steps: &[&str]| redraws(seen) && steps.iter().all(|step| seen.contains(step));
    let seen = shell.on_a_terminal(&format!("scan {}", shell.target));
    let steps = ["scan under ", "scan: 301 candidates", "batch 1: 300 would go"];
    assert!(shows(&seen, &steps), "{seen:?}");
    let piped = shell.run(&["scan", &shell.target]);
    assert!(piped.status.success() && piped.stderr.is_empty(), "{piped:?}");

    let seen = shell.on_a_terminal(&format!("sweep {}", shell.target));
    let steps = ["scan under ", "batch 1: 300 removed", "observing the container"];
    assert!(shows(&seen, &steps), "{seen:?}");
    let piped = shell.run(&["sweep", &shell.target]);
    assert!(piped.stderr.is_empty(), "{piped:?}");
}
