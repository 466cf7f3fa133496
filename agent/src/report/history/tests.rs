use super::*;
use crate::policy::{Fired, Mode};
use crate::report::{Outcome, Phase, Subject, SweepFigures};

const LIMITS: HistoryLimits = HistoryLimits { max_sweeps: 100, max_age: Duration::from_hours(1) };

pub(in crate::report) fn record(id: &str) -> SweepRecord {
    SweepRecord {
        id: id.into(),
        container: Subject {
            cgroup: 7,
            cgroup_path: "/a".into(),
            id: "0123456789abcdef".into(),
            name: "shop/cart-1/app".into(),
            image: None,
            pid: 1,
            start_time: 1,
        },
        policy: "scratch".into(),
        mode: Mode::Enforce,
        fired: Fired::ByHand,
        top_directories: vec![("/tmp".into(), 3)],
        started_at: "2026-01-01T00:00:00Z".into(),
        ended_at: None,
        phase: Phase::Sweeping,
        outcome: None,
        reason: None,
        message: None,
        refusal: None,
        scan: None,
        sweep: SweepFigures::default(),
        health: None,
        health_reason: None,
        notes: vec![],
        attempt: 0,
    }
}

pub(crate) fn ended(id: &str) -> SweepRecord {
    let ended_at = Some("2026-01-01T00:01:00Z".into());
    SweepRecord { ended_at, phase: Phase::Ended, outcome: Some(Outcome::Complete), ..record(id) }
}

fn open(folder: &Path) -> History {
    History::open(folder, LIMITS).unwrap()
}

fn ids(records: &[SweepRecord]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

#[test]
fn refused_sweeps_do_not_push_out_those_that_ran() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    for number in 0..20 {
        history.begin(&ended(&format!("01A{number:03}"))).unwrap();
    }
    for number in 0..150 {
        let refused = SweepRecord { outcome: Some(Outcome::Refused), ..ended(&format!("01B{number:03}")) };
        history.begin(&refused).unwrap();
    }
    let all = history.list(MAX_LIST, None, None).unwrap();
    let refused = all.iter().filter(|record| record.outcome == Some(Outcome::Refused)).count();
    assert_eq!((all.len() - refused, refused), (20, 50));
    assert_eq!(all[0].id, "01B149", "the newest stay");
}

#[test]
fn a_reader_sees_what_is_there_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Reader::open(folder.path()).unwrap().is_none());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let history = open(folder.path());
    history.begin(&record("01A")).unwrap();
    history.put_state("paused", &serde_json::json!({"since": "now"})).unwrap();
    let reader = Reader::open(folder.path()).unwrap().unwrap();
    assert_eq!(ids(&reader.list(9).unwrap()), ["01A"]);
    assert_eq!(reader.state("paused").unwrap(), Some(serde_json::json!({"since": "now"})));
    assert_eq!(reader.state("nothing").unwrap(), None);
    // It holds nobody up.
    history.begin(&record("01B")).unwrap();
    assert_eq!(ids(&reader.list(9).unwrap()), ["01B", "01A"]);
}

#[test]
fn a_sweep_is_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.begin(&record("01A")).unwrap();
    history.begin(&record("01B")).unwrap();
    history.update(&ended("01A")).unwrap();
    drop(history);
    let history = open(folder.path());
    assert_eq!(history.get("01A").unwrap(), Some(ended("01A")));
    assert_eq!(history.get("01C").unwrap(), None);
    assert_eq!(ids(&history.unfinished().unwrap()), ["01B"]);
}

#[test]
fn what_never_began_cannot_be_updated() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path()).update(&record("01A")).unwrap_err();
    assert!(matches!(error, HistoryError::NoSuchSweep { .. }), "{error}");
}

#[test]
fn lists_newest_first_by_container_and_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    for id in ["01A", "01B", "01C"] {
        history.begin(&record(id)).unwrap();
    }
    let mut other = record("01D");
    other.container.id = "fedcba".into();
    other.container.name = "100%_".into();
    history.begin(&other).unwrap();

    let list = |limit, container, before| history.list(limit, container, before).unwrap();
    assert_eq!(ids(&list(9, None, None)), ["01D", "01C", "01B", "01A"]);
    assert_eq!(ids(&list(1, None, Some("01C"))), ["01B"]);
    assert_eq!(ids(&list(9, Some("0123456"), None)), ["01C", "01B", "01A"]);
    assert_eq!(ids(&list(9, Some("100%_"), None)), ["01D"]);
    assert_eq!(ids(&list(9, Some("%"), None)), [""; 0]);
}

#[test]
fn the_oldest_go_first_and_the_unfinished_stay() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open(folder.path(), HistoryLimits { max_sweeps: 2, ..LIMITS }).unwrap();
    history.begin(&record("01A")).unwrap();
    for id in ["01B", "01C", "01D"] {
        history.begin(&ended(id)).unwrap();
    }
    assert_eq!(ids(&history.list(9, None, None).unwrap()), ["01D", "01C", "01A"]);
}

#[test]
fn age_is_judged_by_the_id() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    let id = |second: u64| ulid::Ulid::from_parts(second * 1000, 1).to_string();
    history.begin(&ended(&id(1000))).unwrap();
    history.begin(&ended(&id(1001))).unwrap();
    assert_eq!(history.prune(Duration::from_secs(1001 + 3600)).unwrap(), 1);
    assert_eq!(ids(&history.list(9, None, None).unwrap()), [id(1001)]);
}

#[test]
fn state_is_kept_and_bounded_by_group() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.put_state("paused", &serde_json::json!({"reason": "x"})).unwrap();
    history.put_state("paused", &serde_json::json!(null)).unwrap();
    assert_eq!(history.state("paused").unwrap(), Some(serde_json::json!(null)));
    assert_eq!(history.state("other").unwrap(), None);

    {
        let inner = history.lock();
        inner.connection.execute_batch("BEGIN").unwrap();
        for number in 0..=MAX_STATE_ENTRIES {
            let sql = "INSERT INTO state VALUES ('last/' || ?1, ?1 + 10, '1')";
            inner.connection.execute(sql, [i64::try_from(number).unwrap()]).unwrap();
        }
        inner.connection.execute_batch("COMMIT").unwrap();
    }
    history.put_state("last/new", &serde_json::json!(2)).unwrap();
    assert_eq!(history.state("last/0").unwrap(), None);
    assert_eq!(history.state("last/1").unwrap(), None);
    assert!(history.state("last/2").unwrap().is_some());
    assert!(history.state("last/new").unwrap().is_some());
    assert!(history.state("paused").unwrap().is_some());
}

#[test]
fn values_beyond_the_limit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    let large = SweepRecord { notes: vec!["x".repeat(MAX_RECORD_BYTES)], ..record("01A") };
    assert!(matches!(history.begin(&large), Err(HistoryError::TooLarge { .. })));
    let large = serde_json::json!("x".repeat(MAX_STATE_BYTES));
    assert!(matches!(history.put_state("a", &large), Err(HistoryError::TooLarge { .. })));
}

#[test]
fn what_is_not_a_database_stays_and_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.db");
    let junk = b"not a database, but somebody may still need it".repeat(100);
    std::fs::write(&file, &junk).unwrap();
    let error = History::open(folder.path(), LIMITS).unwrap_err();
    assert!(matches!(error, HistoryError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("move the file away"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), junk);
}

#[test]
fn a_damaged_page_is_found_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    for number in 0..50 {
        history.begin(&ended(&format!("01{number:03}"))).unwrap();
    }
    drop(history);
    let file = folder.path().join("history.db");
    let mut bytes = std::fs::read(&file).unwrap();
    for byte in bytes.iter_mut().skip(4096) {
        *byte = 0x5a;
    }
    std::fs::write(&file, bytes).unwrap();
    let error = History::open(folder.path(), LIMITS).unwrap_err();
    assert!(matches!(error, HistoryError::Corrupt { .. }), "{error}");
}

#[test]
fn a_newer_schema_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.lock().connection.pragma_update(None, "user_version", 99).unwrap();
    drop(history);
    let error = History::open(folder.path(), LIMITS).unwrap_err();
    assert!(matches!(error, HistoryError::Newer { found: 99, .. }), "{error}");
}

#[test]
fn a_record_that_cannot_be_read_does_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(folder.path());
    history.begin(&record("01A")).unwrap();
    history.begin(&record("01B")).unwrap();
    history.lock().connection.execute("UPDATE sweep SET record = '{}' WHERE id = '01A'", []).unwrap();
    assert_eq!(ids(&history.unfinished().unwrap()), ["01B"]);
    assert!(matches!(history.get("01A"), Err(HistoryError::NotJson { .. })));
}

#[test]
fn files_are_for_root_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let _history = open(folder.path());
    for entry in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
}
