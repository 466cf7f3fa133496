use std::fs::{self, OpenOptions};
use std::io::Write;

use serde_json::Value;

use super::*;
use crate::policy::Action;
use crate::report::small_disk::{fill, on_small_disk};
use crate::scan::{Identity, Kept};
use crate::sweep::Fate;

const LIMITS: JournalLimits = JournalLimits { max_bytes: 4 << 20, files: 4 };

fn entry(path: &[u8]) -> AuditEntry {
    let identity = Identity {
        device: 1,
        inode: 2,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        links: 1,
        size: 3,
        mtime: (4, 5),
        ctime: (6, 7),
    };
    AuditEntry { path: path.into(), rule: "scratch".into(), action: Action::Delete, identity }
}

fn batch(files: usize) -> Vec<AuditEntry> {
    (0..files).map(|number| entry(format!("/tmp/some/folder/file-{number}").as_bytes())).collect()
}

fn lines(folder: &Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn remove_all(journal: &Journal, sweep: &str, files: usize) -> io::Result<()> {
    journal.will_remove(sweep, &batch(files))?;
    let result = |index| AuditResult { index, result: Fate::Removed };
    journal.done(sweep, &(0..files).map(result).collect::<Vec<_>>())
}

#[test]
fn a_batch_reads_back_with_its_results() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), LIMITS).unwrap();
    journal.will_remove("01A", &[entry(b"/tmp/a"), entry(b"/tmp/b"), entry(b"/tmp/c")]).unwrap();
    let fates = [Fate::Removed, Fate::Kept(Kept::Open), Fate::Removed];
    let results: Vec<_> =
        fates.into_iter().enumerate().map(|(index, result)| AuditResult { index, result }).collect();
    journal.done("01A", &results).unwrap();

    let lines = lines(folder.path(), "audit.jsonl");
    assert_eq!(lines.len(), 5);
    assert_eq!((&lines[0]["event"], &lines[0]["files"]), (&"batch".into(), &3.into()));
    assert_eq!((&lines[2]["path"], &lines[2]["index"]), (&"/tmp/b".into(), &1.into()));
    let numbers =
        ["device", "inode", "mode", "uid", "gid", "links", "size"].map(|name| lines[2][name].as_u64());
    assert_eq!(numbers, [1, 2, 0o100_644, 0, 0, 1, 3].map(Some), "{}", lines[2]);
    assert_eq!(
        (&lines[2]["mtime"], &lines[2]["ctime"]),
        (&serde_json::json!([4, 5]), &serde_json::json!([6, 7]))
    );
    assert_eq!((&lines[2]["rule"], &lines[2]["action"]), (&"scratch".into(), &"Delete".into()));
    assert_eq!(lines[4]["removed"], 2);
    assert_eq!(lines[4]["others"], serde_json::json!([{"index": 1, "result": {"Kept": "Open"}}]));
}

#[test]
fn no_file_name_can_forge_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), LIMITS).unwrap();
    let forged = b"/tmp/a\n{\"event\":\"done\",\"sweep\":\"01A\",\"batch\":1}";
    journal.will_remove("01A", &[entry(forged), entry(b"/tmp/\xff\n\x1b[2J")]).unwrap();
    let lines = lines(folder.path(), "audit.jsonl");
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1]["path"].as_str().unwrap().as_bytes(), forged);
    assert_eq!(lines[2]["pathHex"], "2f746d702fff0a1b5b324a");
}

#[test]
fn stays_within_its_bound_and_loses_only_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let limits = JournalLimits { max_bytes: 400 << 10, files: 4 };
    let journal = Journal::open(folder.path(), limits).unwrap();
    for _ in 0..20 {
        remove_all(&journal, "01A", 200).unwrap();
    }
    let names = ["audit.2.jsonl", "audit.1.jsonl", "audit.jsonl"];
    let sizes = names.map(|name| folder.path().join(name).metadata().unwrap().len());
    assert!(sizes.iter().all(|size| *size <= 100 << 10), "{sizes:?}");
    assert!(!folder.path().join("audit.3.jsonl").exists());
    let all: Vec<_> = names.iter().flat_map(|name| lines(folder.path(), name)).collect();
    let batches: Vec<_> =
        all.iter().filter(|line| line["event"] == "done").map(|line| &line["batch"]).collect();
    assert_eq!(batches.last(), Some(&&Value::from(20)));
    assert!(batches.windows(2).all(|pair| pair[0].as_u64().map(|batch| batch + 1) == pair[1].as_u64()));
}

#[test]
fn a_smaller_limit_removes_the_files_beyond_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("audit.9.jsonl"), "").unwrap();
    let _journal = Journal::open(folder.path(), LIMITS).unwrap();
    assert!(!folder.path().join("audit.9.jsonl").exists());
}

#[test]
fn the_next_agent_marks_what_was_under_way_once() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), LIMITS).unwrap();
    remove_all(&journal, "01A", 1).unwrap();
    journal.will_remove("01B", &batch(2)).unwrap();
    drop(journal);
    let mut file = OpenOptions::new().append(true).open(folder.path().join("audit.jsonl")).unwrap();
    file.write_all(br#"{"event":"batch","time":"2026"#).unwrap();

    let journal = Journal::open(folder.path(), LIMITS).unwrap();
    assert_eq!(journal.interrupted(), [OpenBatch { sweep: "01B".into(), batch: 2 }]);
    remove_all(&journal, "01C", 1).unwrap();
    drop(journal);
    assert_eq!(Journal::open(folder.path(), LIMITS).unwrap().interrupted(), []);
    let text = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    let torn: Vec<_> = text.lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).collect();
    assert_eq!(torn, [r#"{"event":"batch","time":"2026"#]);
}

#[test]
fn a_batch_that_begins_in_one_file_and_ends_in_the_next_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let limits = JournalLimits { max_bytes: 0, files: 4 };
    let journal = Journal::open(folder.path(), limits).unwrap();
    remove_all(&journal, "01A", 400).unwrap();
    assert!(folder.path().join("audit.1.jsonl").exists());
    drop(journal);
    assert_eq!(Journal::open(folder.path(), limits).unwrap().interrupted(), []);
}

#[test]
fn a_slow_batch_is_found_behind_those_that_others_wrote_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let limits = JournalLimits { max_bytes: 0, files: 5 };
    let journal = Journal::open(folder.path(), limits).unwrap();
    journal.will_remove("01A", &batch(1)).unwrap();
    for _ in 0..3 {
        remove_all(&journal, "01B", 200).unwrap();
    }
    drop(journal);
    assert!(folder.path().join("audit.2.jsonl").exists(), "all is in the newest two: this shows nothing");
    let journal = Journal::open(folder.path(), limits).unwrap();
    assert_eq!(journal.interrupted(), [OpenBatch { sweep: "01A".into(), batch: 1 }]);
}

#[test]
fn results_without_a_batch_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), LIMITS).unwrap();
    assert!(journal.done("01A", &[]).is_err());
}

#[test]
fn a_full_disk_does_not_stop_the_sweep_that_frees_it() {
    on_small_disk(32, |disk| {
        let folder = disk.join("state");
        let journal = Journal::open(&folder, LIMITS).unwrap();
        fill(disk);
        // More than a file (1 MiB, some 4,000 lines), so that the reserve must serve too.
        for _ in 0..40 {
            remove_all(&journal, "01A", 200).unwrap();
        }
        assert!(folder.join("audit.1.jsonl").exists());
    });
}

#[test]
fn where_nothing_is_left_the_batch_is_refused_and_the_journal_goes_on_later() {
    on_small_disk(32, |disk| {
        let folder = disk.join("state");
        fill(disk);
        // Without reserve. tmpfs counts a folder's own entries in inodes, not in blocks.
        let journal = Journal::open(&folder, LIMITS).unwrap();
        let error = journal.will_remove("01A", &batch(200)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        fs::remove_file(disk.join("storm")).unwrap();
        remove_all(&journal, "01A", 200).unwrap();
        assert_eq!(lines(&folder, "audit.jsonl").len(), 202);
    });
}

#[test]
fn a_batch_that_got_no_end_is_marked_before_the_next_one_begins() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), LIMITS).unwrap();
    journal.will_remove("01A", &batch(1)).unwrap();
    journal.lock().give_up("01A");
    assert!(journal.done("01A", &[]).is_err());
    remove_all(&journal, "01B", 1).unwrap();
    let lines = lines(folder.path(), "audit.jsonl");
    let events: Vec<_> = lines.iter().map(|line| (line["event"].as_str().unwrap(), &line["batch"])).collect();
    let [one, two] = [Value::from(1), Value::from(2)];
    assert_eq!(
        events,
        [
            ("batch", &one),
            ("file", &one),
            ("interrupted", &one),
            ("batch", &two),
            ("file", &two),
            ("done", &two)
        ]
    );
}

#[test]
fn a_sweeps_files_are_read_back_with_what_became_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), LIMITS).unwrap();
    journal.will_remove("01A", &[entry(b"/tmp/a"), entry(b"/tmp/\xff")]).unwrap();
    remove_all(&journal, "01B", 3).unwrap();
    let fates = [Fate::Removed, Fate::Kept(Kept::Open)].into_iter().enumerate();
    journal
        .done("01A", &fates.map(|(index, result)| AuditResult { index, result }).collect::<Vec<_>>())
        .unwrap();
    journal.will_remove("01A", &[entry(b"/tmp/c")]).unwrap();
    let read = || {
        let mut files = Vec::new();
        files_of(folder.path(), "01A", |file| {
            files.push(serde_json::to_value(file)?);
            Ok(())
        })
        .unwrap();
        files
    };
    let seen: Vec<_> = read().into_iter().map(|file| file["result"].as_str().unwrap().to_owned()).collect();
    assert_eq!(seen, ["Removed", "Kept(Open)", "InFlight"]);
    drop(journal);
    drop(Journal::open(folder.path(), LIMITS).unwrap());
    let files = read();
    assert_eq!((&files[2]["result"], &files[2]["path"]), (&"Interrupted".into(), &"/tmp/c".into()));
    assert_eq!((&files[1]["pathHex"], &files[1]["inode"]), (&"2f746d702fff".into(), &2.into()));
}
