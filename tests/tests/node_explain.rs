//! What `podsweep explain` says of a file is what a sweep then does with it: one file for every reason to stay, each
//! explained, then all swept; the word and the fate of each are compared.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use podsweep::policy::chain::Step;
use podsweep::report::Outcome;
use podsweep_tests::agent::Agent;
use podsweep_tests::container::Container;
use serde_json::json;

const PREFIX: &str = "podsweep-test";
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const SWEPT_WITHIN: Duration = Duration::from_mins(2);

/// Path, level and word of what decides; `Delete`: it goes.
const FILES: [(&str, u8, &str); 24] = [
    ("/t/junk-1", 4, "Delete"),
    ("/t/deep/er/junk-2", 4, "Delete"),
    ("/t/a.lock", 4, "Excluded"),
    ("/t/never/x", 4, "Never"),
    ("/t/node-never/x", 1, "Never"),
    ("/t/link", 4, "Type"),
    ("/hour/x", 4, "TooYoung"),
    ("/large/small", 4, "TooSmall"),
    ("/large/large", 4, "Delete"),
    ("/owned/x", 4, "Owner"),
    ("/newest/1", 4, "Delete"),
    ("/newest/2", 4, "Newest"),
    ("/newest/3", 4, "Newest"),
    ("/t/linked", 0, "HardLinked"),
    ("/t/mounted/x", 0, "MountInside"),
    ("/t/bound", 0, "MountInside"),
    ("/tmp/from-image-0.txt", 0, "LowerLayer"),
    ("/t/open", 0, "Open"),
    ("/t/renamed", 0, "ViewDiffers"),
    ("/tmp/from-image-1.txt", 0, "OfTheImage"),
    ("/tmp/from-image-2.txt", 0, "NotThere"),
    ("/t/deep", 0, "Directory"),
    ("/alias/junk-1", 0, "BehindSymlink"),
    // The last, because it is the youngest that must still be young when it is swept.
    ("/t/young", 0, "TooYoung"),
];

/// Words of files that a sweep does not come across.
const UNSEEN: [&str; 4] = ["OfTheImage", "NotThere", "Directory", "BehindSymlink"];

fn policy(container: &Container) -> String {
    let cgroup = container.cgroup().path();
    format!(
        "apiVersion: podsweep.io/v1alpha1\n\
         kind: SweepPolicy\n\
         metadata: {{name: every}}\n\
         spec:\n\
         \x20 mode: Enforce\n\
         \x20 select: {{cgroups: [\"{cgroup}\"]}}\n\
         \x20 junk:\n\
         \x20 - {{name: any, paths: [\"/t/**\", \"/tmp/*\", \"/alias/*\"], exclude: [\"**/*.lock\"], olderThan: 10s}}\n\
         \x20 - {{name: hour, paths: [\"/hour/*\"], olderThan: 1h}}\n\
         \x20 - {{name: large, paths: [\"/large/*\"], minSize: 1Ki, olderThan: 10s}}\n\
         \x20 - {{name: owned, paths: [\"/owned/*\"], owners: [4711], olderThan: 10s}}\n\
         \x20 - {{name: newest, paths: [\"/newest/*\"], keepNewest: 2, olderThan: 10s}}\n\
         \x20 never: [\"/t/never/**\"]\n\
         \x20 scan: {{cpu: 50%, readBytesPerSecond: 50Mi, readIOPS: 5000}}\n\
         \x20 rollout: {{observe: 1s}}\n"
    )
}

fn write(container: &Container, path: &str, bytes: usize) {
    let path = container.inside(path).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, vec![b'x'; bytes]).unwrap();
}

/// A command in the container's mount namespace, with the host's rights: what a runtime or a kubelet does.
fn in_its_mounts(container: &Container, words: &[&str]) {
    let pid = container.process().unwrap().pid.to_string();
    let mut nsenter = Command::new("nsenter");
    let done = nsenter.args(["-t", &pid, "-m", "--", "/bin/busybox"]).args(words).output().unwrap();
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// All files but the young one; the returned handle holds one open.
fn make_files(container: &Container) -> File {
    for path in ["/t/junk-1", "/t/deep/er/junk-2", "/t/a.lock", "/t/never/x", "/t/node-never/x", "/hour/x"] {
        write(container, path, 1);
    }
    for (path, bytes) in [("/large/small", 1), ("/large/large", 2000), ("/owned/x", 1)] {
        write(container, path, bytes);
    }
    for path in ["/t/linked", "/t/bound", "/t/open", "/other/source"] {
        write(container, path, 1);
    }
    for path in ["/newest/1", "/newest/2", "/newest/3"] {
        write(container, path, 1);
        // Times of files move on with the kernel's tick.
        std::thread::sleep(Duration::from_millis(20));
    }
    let inside = |path| container.inside(path).unwrap();
    symlink("/t/junk-1", inside("/t/link")).unwrap();
    symlink("/t", inside("/alias")).unwrap();
    fs::hard_link(inside("/t/linked"), inside("/other/twin")).unwrap();
    fs::write(inside("/tmp/from-image-0.txt"), "changed").unwrap();
    fs::remove_file(inside("/tmp/from-image-2.txt")).unwrap();
    fs::rename(inside("/tmp/from-image-3.txt"), inside("/t/renamed")).unwrap();
    fs::create_dir(inside("/t/mounted")).unwrap();
    in_its_mounts(container, &["mount", "-t", "tmpfs", "tmpfs", "/t/mounted"]);
    in_its_mounts(container, &["mount", "-o", "bind", "/other/source", "/t/bound"]);
    write(container, "/t/mounted/x", 1);
    File::open(inside("/t/open")).unwrap()
}

fn deciding(steps: &[Step]) -> (u8, String) {
    let deciding: Vec<_> = steps.iter().filter(|step| step.deciding).collect();
    assert_eq!(deciding.len(), 1, "{steps:?}");
    let yes = || deciding[0].answer.strip_prefix("yes: ").expect("a no without a word").to_owned();
    (deciding[0].level, deciding[0].reason.clone().unwrap_or_else(yes))
}

fn is_there(container: &Container, path: &str) -> bool {
    fs::symlink_metadata(container.inside(path).unwrap()).is_ok()
}

#[test]
fn what_explain_says_of_a_file_is_what_a_sweep_does_with_it() {
    let container = Container::start(PREFIX).unwrap();
    let _open = make_files(&container);
    // Started when the mounts are made: it looks at a container's mounts when it first sees it, and every `rescan`.
    let settings = json!({"never": ["/t/node-never/**"]});
    let agent = Agent::start_with(PREFIX, &[("every", &policy(&container))], &settings).unwrap();
    let seen = agent.knows(container.cgroup_id().unwrap(), KNOWN_WITHIN).unwrap();
    container.grow_old();

    let mut words = BTreeMap::new();
    for (path, level, word) in FILES {
        if path == "/t/young" {
            write(&container, path, 1);
        }
        let steps = agent.explain(&container, path, &[]).unwrap();
        assert_eq!(deciding(&steps), (level, word.to_owned()), "{path}: {steps:#?}");
        words.insert(path, word);
    }
    let before: Vec<_> = FILES.iter().map(|(path, ..)| is_there(&container, path)).collect();

    let id = agent.api().request_sweep(&seen.id, "every").unwrap();
    let record = agent.ended(&id, SWEPT_WITHIN).unwrap();

    assert_eq!(record.outcome, Some(Outcome::Complete), "{record:?}");
    for ((path, _, word), there) in FILES.into_iter().zip(before) {
        // The alias of a file that goes by its own name goes with it.
        let goes = word == "Delete" || path == "/alias/junk-1";
        assert_eq!(is_there(&container, path), there && !goes, "{path}: {word}, {record:?}");
    }
    let mut explained: BTreeMap<String, u64> = BTreeMap::new();
    for word in words.into_values().filter(|word| *word != "Delete" && !UNSEEN.contains(word)) {
        *explained.entry(word.to_owned()).or_default() += 1;
    }
    let swept: BTreeMap<String, u64> =
        record.sweep.kept.iter().map(|(reason, files)| (format!("{reason:?}"), *files)).collect();
    assert_eq!(swept, explained, "{record:?}");
    let metrics = agent.api().metrics().unwrap();
    for (word, files) in explained {
        let line = format!("podsweep_files_kept_total{{reason=\"{word}\"}} {files}");
        assert!(metrics.lines().any(|metric| metric == line), "no {line}");
    }
}
