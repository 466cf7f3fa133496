//! The limits: in force before the first look, named where they are missing, told with the figures.

use std::collections::BTreeMap;
use std::time::Duration;

use podsweep::scan::{self, RunningScan, ScanEnd, ScanError, ScanMessage};
use podsweep::units::{Bytes, Percent};

use crate::place::{MANY, Slice, fill, fill_beyond_buffers, request, to_end};

async fn held_back(slice: &Slice, tree: &std::path::Path) -> RunningScan {
    fill_beyond_buffers(&tree.join("tmp"));
    let mut scan = scan::start(request(tree, &["/tmp/**"]), &slice.place).await.unwrap();
    assert!(matches!(scan.next().await, Some(ScanMessage::Candidate(_) | ScanMessage::Progress { .. })));
    scan
}

fn status(pid: i32) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

#[tokio::test]
async fn the_worker_has_given_up_what_it_does_not_need() {
    let (slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    let scan = held_back(&slice, tree.path()).await;
    let status = status(scan.pid());
    // Bit 2: CAP_DAC_READ_SEARCH.
    for set in ["CapPrm", "CapEff"] {
        assert_eq!(u64::from_str_radix(&status[set], 16).unwrap(), 1 << 2, "{set}");
    }
    for set in ["CapInh", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status[set], 16).unwrap(), 0, "{set}");
    }
    assert_eq!((&*status["NoNewPrivs"], &*status["Seccomp"], &*status["Threads"]), ("1", "2", "1"));
    let nice = rustix::process::getpriority_process(rustix::process::Pid::from_raw(scan.pid())).unwrap();
    assert_eq!(nice, 19);
    assert!(std::fs::read(format!("/proc/{}/environ", scan.pid())).unwrap().is_empty());
    assert_eq!(to_end(scan).await.report.candidates, MANY as u64);
}

#[tokio::test]
async fn limits_are_those_of_its_own_cgroups() {
    let (slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    let scan = held_back(&slice, tree.path()).await;
    let (limits, missing) = scan.limits();
    assert_eq!(missing, [""; 0]);
    assert_eq!((&*limits["nice"], &*limits["ioprio"], &*limits["pids.max"]), ("19", "idle", "1"));
    for cgroup in slice.scans() {
        let procs = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        assert_eq!(procs.trim(), scan.pid().to_string(), "{cgroup:?}");
        for (file, value) in limits {
            if let Ok(text) = std::fs::read_to_string(cgroup.join(file)) {
                assert_eq!(text.trim(), value, "{file}");
            }
        }
    }
    for kinds in [["cpu.max", "cpu.cfs_quota_us"], ["memory.max", "memory.limit_in_bytes"]] {
        assert!(kinds.iter().any(|file| limits.contains_key(*file)), "{kinds:?}: {limits:?}");
    }
    let names: Vec<_> =
        limits.keys().filter(|file| file.starts_with("io.max") || file.starts_with("blkio.")).collect();
    assert!(!names.is_empty(), "{limits:?}");
    let limits = limits.clone();
    let report = to_end(scan).await.report;
    assert_eq!(report.limits, limits);
    assert!(report.cpu > Duration::ZERO);
}

#[tokio::test]
async fn a_small_quota_holds_the_worker_back() {
    // Work for dozens of the quota's periods.
    const FILES: usize = 10_000;
    let (slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    fill(&tree.path().join("tmp"), FILES);
    let mut request = request(tree.path(), &["/tmp/**"]);
    request.settings.cpu = Percent(5.0);
    let found = to_end(scan::start(request, &slice.place).await.unwrap()).await;
    let report = found.report;
    assert_eq!(report.candidates, FILES as u64);
    assert!(report.throttled > report.cpu, "throttled {:?}, cpu {:?}", report.throttled, report.cpu);
    // Twice the quota leaves room for the period that is under way at either end.
    assert!(report.cpu.as_secs_f64() < 0.10 * report.wall.as_secs_f64() + 0.02, "{report:?}");
}

#[tokio::test]
async fn too_little_memory_ends_the_worker_with_a_remedy() {
    let (slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    fill_beyond_buffers(&tree.path().join("tmp"));
    let mut request = request(tree.path(), &["/tmp/**"]);
    // What keepNewest holds back alone is ten times as much.
    request.settings.memory = Bytes(1 << 18);
    request.junk[0].keep_newest = 1_000_000;
    let mut scan = scan::start(request, &slice.place).await.unwrap();
    let mut end = None;
    while let Some(message) = scan.next().await {
        if let ScanMessage::End(report) = message {
            end = Some(report.end);
        }
    }
    assert_eq!(end, Some(ScanEnd::WorkerFailed));
    let failure = scan.failure().unwrap();
    assert!(failure.contains("raise spec.scan.memory"), "{failure}");
}

#[tokio::test]
async fn a_missing_limit_refuses_the_scan_unless_the_policy_allows_it() {
    let (mut slice, tree) = (Slice::new(), tempfile::tempdir().unwrap());
    fill(&tree.path().join("tmp"), 10);
    // As if blkio were not mounted. On a host with cgroup2 alone no controller can be hidden.
    if slice.place.cgroups.v1.remove("blkio").is_none() {
        eprintln!("skipped: no blkio hierarchy");
        return;
    }
    let mut request = request(tree.path(), &["/tmp/**"]);
    match scan::start(request.clone(), &slice.place).await {
        Err(ScanError::LimitsMissing { names }) => {
            assert_eq!(names.len(), 1, "{names:?}");
            assert!(names[0].starts_with("io: "), "{names:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(slice.scans(), Vec::<std::path::PathBuf>::new());
    request.settings.allow_missing_limits = true;
    let report = to_end(scan::start(request, &slice.place).await.unwrap()).await.report;
    assert_eq!((report.end, report.candidates), (ScanEnd::Complete, 10));
    assert_eq!(report.missing_limits.len(), 1, "{:?}", report.missing_limits);
}

#[test]
fn doctor_sees_every_limit_of_this_host() {
    let found = scan::available_limits(scan::DEFAULT_PARENT);
    assert_eq!(
        found.iter().map(|support| support.limit).collect::<Vec<_>>(),
        ["cpu", "io", "memory", "pids"]
    );
    for support in found {
        assert_ne!(support.files.is_empty(), support.problem.is_none(), "{support:?}");
    }
}
