//! Every kind of mistake in a policy file, and what its author is told: first line of the error, word for word where
//! the words are the contract.

use std::path::Path;

use super::super::{Mode, Trigger, parse};
use crate::units::Span;

const GOOD: &str = r#"apiVersion: podsweep.io/v1alpha1
kind: SweepPolicy
metadata: {name: billing-scratch}
spec:
  mode: Enforce
  select:
    images: ["*/billing:*"]
  triggers:
  - burst: {createsPerSecond: 200, for: 10s}
  - nodeInodesFree: {below: 15%}
  - schedule: "*/30 * * * *"
  junk:
  - name: scratch
    paths: ["/tmp/**", "/app/cache/*.part"]
    exclude: ["**/*.lock", "**/.keep"]
    olderThan: 10m
  never: ["/app/data/**"]
  sweep:
    stopWhen: {nodeInodesFree: 30%}
"#;

/// The error for GOOD with one text replaced.
fn error(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not in the good policy");
    match parse(&GOOD.replacen(from, to, 1), Path::new("a.yaml")) {
        Ok(policy) => format!("no error: {policy:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_good_policy_reads_as_written() {
    let policy = parse(GOOD, Path::new("a.yaml")).unwrap();
    assert_eq!(policy.spec.mode, Mode::Enforce);
    assert_eq!(
        policy.spec.triggers[0],
        Trigger::Burst { creates_per_second: 200, r#for: Span::from_secs(10) }
    );
    assert_eq!(policy.spec.junk[0].older_than, Span::from_secs(600));
    assert_eq!(policy.spec.breakers.workload.cool_down, Span::from_secs(1800));
}

#[test]
fn what_is_shown_reads_back() {
    let policy = parse(GOOD, Path::new("a.yaml")).unwrap();
    let yaml = serde_saphyr::to_string(&policy).unwrap();
    assert_eq!(parse(&yaml, Path::new("a.yaml")).unwrap(), policy, "{yaml}");
    let json = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<super::SweepPolicy>(&json).unwrap(), policy);
}

#[test]
fn errors_of_form_name_file_line_column_field_and_remedy() {
    for (from, to, expected) in [
        (
            "olderThan: 10m",
            "olderThan: 10x",
            r#"a.yaml:16:16: spec.junk[0].olderThan: "10x" is not a duration; write it like 90s, 10m or 2h"#,
        ),
        (
            "olderThan: 10m",
            "olderThan: 10",
            r#"a.yaml:16:16: spec.junk[0].olderThan: "10" is not a duration; write it like 90s, 10m or 2h"#,
        ),
        (
            "olderThan: 10m",
            "olderthan: 10m",
            r#"a.yaml:16:5: spec.junk[0].olderthan: unknown field "olderthan"; did you mean olderThan?"#,
        ),
        (
            "mode: Enforce",
            "mode: enforce",
            r#"a.yaml:5:9: spec.mode: "enforce" is not a known word here; did you mean Enforce?"#,
        ),
        (
            "burst: {createsPerSecond: 200, for: 10s}",
            "burst: {createsPerSecond: 200}",
            "a.yaml:9:12: spec.triggers[0].burst.for: is missing; add it",
        ),
        (
            "  - burst:",
            "  - brust:",
            r#"a.yaml:9:5: spec.triggers[0].brust: "brust" is not a known word here; did you mean burst?"#,
        ),
        (
            "    images: [\"*/billing:*\"]",
            "    images: []",
            "a.yaml:7:13: spec.select.images: is empty; fill it, or remove the line so that it does not count",
        ),
        (
            "  never: [\"/app/data/**\"]",
            "  never: [\"/app/data/**\"]\n  never: []",
            "a.yaml:18:3: spec.never: is given twice; remove one",
        ),
        ("below: 15%", "below: a lot", ""),
    ] {
        let shown = error(from, to);
        if expected.is_empty() {
            assert!(
                shown.contains("spec.triggers[1].nodeInodesFree.below: \"a lot\" is not a percentage"),
                "{shown}"
            );
        } else {
            assert_eq!(shown, expected);
        }
    }
}

#[test]
fn where_guards_are_asked_is_no_policys_business() {
    let guard = "  rollout: {guards: [{name: a, query: up, url: 'http://x'}]}\n  sweep:";
    let shown = error("  sweep:", guard);
    assert!(shown.contains("spec.rollout.guards[0].url: unknown field"), "{shown}");
}

#[test]
fn missing_parts_are_named() {
    assert_eq!(error("metadata: {name: billing-scratch}\n", ""), "a.yaml:1:1: metadata: is missing; add it");
    let shown = error("    paths: [\"/tmp/**\", \"/app/cache/*.part\"]\n", "");
    assert_eq!(shown, "a.yaml:13:5: spec.junk[0].paths: is missing; add it");
}

#[test]
fn one_document_to_a_file() {
    let shown = parse(&format!("{GOOD}---\n{GOOD}"), Path::new("a.yaml")).unwrap_err().to_string();
    assert!(shown.contains("a second document begins here; move it to a file of its own"), "{shown}");
    assert!(parse("", Path::new("a.yaml")).is_err());
    let shown = parse("spec: [", Path::new("a.yaml")).unwrap_err().to_string();
    assert!(shown.starts_with("a.yaml:1:"), "{shown}");
}

#[test]
fn broad_rules_need_a_word_from_their_author() {
    for broad in ["/", "/**", "/*/tmp/**", "/{tmp,var}/**"] {
        let shown = error("\"/tmp/**\"", &format!("\"{broad}\""));
        assert!(shown.starts_with("a.yaml:14:13: spec.junk[0].paths[0]: "), "{shown}");
        assert!(shown.contains("iKnowThisIsBroad"), "{shown}");
    }
    let knowing =
        GOOD.replace("\"/tmp/**\"", "\"/**\"").replace("olderThan", "iKnowThisIsBroad: true\n    olderThan");
    assert!(parse(&knowing, Path::new("a.yaml")).is_ok());
}

#[test]
fn words_that_are_not_available_yet_say_so() {
    let shown = error("nodeInodesFree: {below: 15%}", "exhaustion: {within: 30m}");
    assert!(shown.starts_with("a.yaml:10:17: spec.triggers[1].exhaustion: is not available"), "{shown}");
}

#[test]
fn each_of_these_is_refused_with_its_field() {
    for (from, to, field) in [
        ("podsweep.io/v1alpha1", "podsweep.io/v2", "apiVersion"),
        ("kind: SweepPolicy", "kind: Policy", "kind"),
        ("name: billing-scratch", "name: Billing", "metadata.name"),
        (
            "    images: [\"*/billing:*\"]",
            "    podExpressions: [{key: a, operator: In}]",
            "spec.select.podExpressions[0].values",
        ),
        ("select:\n    images: [\"*/billing:*\"]", "select: {}", "spec.select"),
        ("\"*/billing:*\"", "\"[a\"", "spec.select.images[0]"),
        ("for: 10s", "for: 100ms", "spec.triggers[0].burst.for"),
        ("\"*/30 * * * *\"", "\"every day\"", "spec.triggers[2].schedule"),
        ("nodeInodesFree: 30%", "nodeInodesFree: 15%", "spec.triggers[1].nodeInodesFree.below"),
        ("olderThan: 10m", "olderThan: 9s", "spec.junk[0].olderThan"),
        ("olderThan: 10m", "types: []", "spec.junk[0].types"),
        ("olderThan: 10m", "volumes: []", "spec.junk[0].volumes"),
        ("olderThan: 10m", "action: Truncate\n    types: [File, Fifo]", "spec.junk[0].types"),
        ("olderThan: 10m", "action: Truncate\n    emptyDirectories: true", "spec.junk[0].emptyDirectories"),
        ("olderThan: 10m", "olderThan: 10m\n  - {name: scratch, paths: [/tmp/x]}", "spec.junk[1].name"),
        ("\"/tmp/**\"", "\"tmp/**\"", "spec.junk[0].paths[0]"),
        ("\"**/*.lock\"", "\"*.lock\"", "spec.junk[0].exclude[0]"),
        ("\"/app/data/**\"", "\"/app//data/**\"", "spec.never[0]"),
        ("stopWhen:", "batchSize: 0\n    stopWhen:", "spec.sweep.batchSize"),
        ("stopWhen:", "batchInterval: 1ms\n    stopWhen:", "spec.sweep.batchInterval"),
        (
            "olderThan: 10m\n  never: [\"/app/data/**\"]\n  sweep:\n",
            "action: Truncate\n  sweep:\n    executor: Exec\n",
            "spec.sweep.executor",
        ),
        ("  sweep:", "  scan: {memory: 1Mi}\n  sweep:", "spec.scan.memory"),
        ("  sweep:", "  rollout: {serialBy: [Node, Node]}\n  sweep:", "spec.rollout.serialBy[1]"),
        ("  sweep:", "  breakers: {workload: {restarts: 0}}\n  sweep:", "spec.breakers.workload.restarts"),
        (
            "  sweep:",
            "  rollout: {guards: [{name: a, query: 'sum(up'}]}\n  sweep:",
            "spec.rollout.guards[0].query",
        ),
    ] {
        let shown = error(from, to);
        let named = shown.lines().any(|line| line.split(": ").nth(1) == Some(field));
        assert!(named, "{from:?} -> {to:?} should blame {field}: {shown}");
    }
}
