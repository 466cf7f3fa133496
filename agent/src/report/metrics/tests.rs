use std::time::Duration;

use super::*;
use crate::breaker::{Board, GlobalBreaker};
use crate::inventory::{CgroupId, Container, Names, Process, Runtime};
use crate::policy::Refusal;
use crate::report::{Health, SweepFigures};
use crate::scan::Kept;

const BUILD: BuildInfo = BuildInfo { version: "1.2.3", commit: "abc" };

fn metrics() -> Metrics {
    Metrics::new(BUILD).unwrap()
}

fn container(cgroup: u64, pod: &str) -> Container {
    Container {
        cgroup: CgroupId(cgroup),
        cgroup_path: "/a".into(),
        nested: vec![],
        runtime: Runtime::Containerd,
        id: format!("{cgroup:064}"),
        names: Names { namespace: Some("shop".into()), pod: Some(pod.into()), ..Names::default() },
        first: Process { pid: 1, start_time: 1 },
        layer: None,
        volumes: vec![],
        other_mounts: vec![],
    }
}

/// The value of the only series whose line begins like this.
fn value(metrics: &Metrics, series: &str) -> Option<String> {
    let text = metrics.render().unwrap();
    let mut lines =
        text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
    let value = lines.next();
    assert_eq!(lines.next(), None, "{series}");
    value
}

#[test]
fn names_follow_the_conventions() {
    for entry in metrics().register.entries() {
        let name = entry.name.as_str();
        assert!(name.starts_with("podsweep_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(entry.kind == "counter", name.ends_with("_total"), "{name}");
        assert_eq!(entry.kind == "histogram", name.ends_with("_duration_seconds"), "{name}");
        for unit in ["_ms", "_millis", "_micros", "_kib", "_percent"] {
            assert!(!name.contains(unit), "{name}: not a base unit");
        }
        assert!(entry.help.ends_with('.') && !entry.help.contains('|'), "{name}: {}", entry.help);
    }
}

#[test]
fn the_reference_in_docs_is_the_programs_own() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let now = metrics().reference();
    if std::env::var_os("PODSWEEP_BLESS").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == now, "docs/metrics.md is not up to date; run `cargo xtask gen`");
}

#[test]
fn a_containers_series_go_with_it() {
    let metrics = metrics();
    let series = r#"podsweep_container_creates_total{container="shop/a",namespace="shop",pod="a"}"#;
    metrics.container_counts(&container(1, "a"), 5, 1);
    metrics.container_counts(&container(1, "a"), 7, 1);
    assert_eq!(value(&metrics, series).as_deref(), Some("7"));
    metrics.remove_container(CgroupId(1));
    assert!(!metrics.render().unwrap().contains("shop/a"));
}

#[test]
fn a_restarted_container_goes_on_with_the_series_of_its_name() {
    let metrics = metrics();
    let series = r#"podsweep_container_creates_total{container="shop/a",namespace="shop",pod="a"}"#;
    metrics.container_counts(&container(1, "a"), 5, 0);
    metrics.container_counts(&container(2, "a"), 3, 0);
    metrics.remove_container(CgroupId(1));
    assert_eq!(value(&metrics, series).as_deref(), Some("8"));
}

#[test]
fn a_container_that_gets_its_name_later_has_one_set_of_series() {
    let metrics = metrics();
    let unnamed = Container { names: Names::default(), ..container(1, "a") };
    metrics.container_counts(&unnamed, 5, 0);
    metrics.container_counts(&container(1, "a"), 6, 0);
    let series = r#"podsweep_container_creates_total{container="shop/a",namespace="shop",pod="a"}"#;
    assert_eq!(value(&metrics, series).as_deref(), Some("6"));
    assert!(!metrics.render().unwrap().contains("000000000000"));
}

#[test]
fn no_more_containers_than_the_bound() {
    let metrics = metrics();
    for cgroup in 0..MAX_CONTAINERS as u64 + 2 {
        metrics.container_counts(&container(cgroup, &cgroup.to_string()), 1, 0);
    }
    let series = r#"podsweep_limit_reached_total{limit="metrics_containers"}"#;
    assert_eq!(value(&metrics, series).as_deref(), Some("2"));
}

#[test]
fn names_of_policies_cannot_make_series_without_end() {
    let metrics = metrics();
    for number in 0..300 {
        metrics.burst(&number.to_string());
    }
    assert_eq!(value(&metrics, r#"podsweep_bursts_total{policy="other"}"#).as_deref(), Some("44"));
}

#[test]
fn totals_from_the_kernel_never_go_back() {
    let metrics = metrics();
    metrics.program("unlink", 10, Duration::from_secs(2));
    metrics.program("unlink", 15, Duration::from_secs(3));
    // Loaded anew.
    metrics.program("unlink", 4, Duration::from_secs(1));
    assert_eq!(value(&metrics, r#"podsweep_program_runs_total{program="unlink"}"#).as_deref(), Some("19"));
    assert_eq!(
        value(&metrics, r#"podsweep_program_run_seconds_total{program="unlink"}"#).as_deref(),
        Some("4")
    );
    metrics.loss(LossTotals { directories_not_named: 3, ..LossTotals::default() });
    metrics.loss(LossTotals { directories_not_named: 4, ..LossTotals::default() });
    assert_eq!(value(&metrics, "podsweep_observe_directories_not_named_total").as_deref(), Some("4"));
}

#[test]
fn a_sweep_is_counted_in_all_its_parts() {
    let metrics = metrics();
    let mut record = crate::report::history::tests::ended("01A");
    record.reason = Some("Complete".into());
    record.health = Some(Health::Healthy);
    record.health_reason = Some("Well".into());
    record.refusal = Some(Refusal { level: 6, reason: "BreakerOpen".into(), message: String::new() });
    record.sweep = SweepFigures { removed: 9, removed_bytes: 4096, ..SweepFigures::default() };
    record.sweep.kept.insert(Kept::HardLinked, 2);
    metrics.sweep_ended(&record);
    for (series, expected) in [
        (r#"podsweep_sweeps_total{outcome="Complete",policy="scratch",reason="Complete"}"#, "1"),
        (r#"podsweep_observations_total{health="Healthy",reason="Well"}"#, "1"),
        (r#"podsweep_refusals_total{level="6",reason="BreakerOpen"}"#, "1"),
        (r#"podsweep_files_kept_total{reason="HardLinked"}"#, "2"),
        ("podsweep_files_removed_total", "9"),
        ("podsweep_removed_bytes_total", "4096"),
    ] {
        assert_eq!(value(&metrics, series).as_deref(), Some(expected), "{series}");
    }
}

#[test]
fn breakers_are_counted_by_state() {
    let metrics = metrics();
    metrics.breakers(&Board::new(GlobalBreaker { open: 3, window: Duration::from_mins(10) }).views());
    assert_eq!(
        value(&metrics, r#"podsweep_breakers{breaker="global",state="Closed"}"#).as_deref(),
        Some("1")
    );
    assert_eq!(value(&metrics, r#"podsweep_breakers{breaker="global",state="Open"}"#).as_deref(), Some("0"));
    assert_eq!(
        value(&metrics, r#"podsweep_breakers{breaker="workload",state="Closed"}"#).as_deref(),
        Some("0")
    );
}

#[test]
fn one_tier_at_a_time_with_its_gaps() {
    let metrics = metrics();
    metrics.tier("lsm", ["mkdir"]);
    metrics.tier("sys_exit", ["io_uring", "rename_over"]);
    assert!(!metrics.render().unwrap().contains("lsm"));
    for gap in ["io_uring", "rename_over"] {
        let series = format!(r#"podsweep_observe_gap_info{{gap="{gap}",tier="sys_exit"}}"#);
        assert_eq!(value(&metrics, &series).as_deref(), Some("1"), "{gap}");
    }
}
