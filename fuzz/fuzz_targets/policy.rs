//! A policy of anybody's: it is read or refused, and what was read means the same wherever it is written down again.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use podsweep::policy::{self, Junk, PolicySet, SweepPolicy, Trigger, Triggers};

const NAME: &str = "policy.yaml";

fuzz_target!(|text: &str| {
    match policy::parse(text, Path::new(NAME)) {
        Ok(policy) => {
            compiles(&policy);
            survives(&policy);
        }
        Err(error) => assert!(error.to_string().lines().all(|line| line.starts_with(NAME)), "{error}"),
    }
});

/// What validation let through, no later stage may refuse.
fn compiles(policy: &SweepPolicy) {
    let spec = &policy.spec;
    Junk::compile(&spec.junk, &spec.never).expect("validated globs compile");
    PolicySet::new(vec![Arc::new(policy.clone())]).expect("a validated selector compiles");
    let unavailable = |trigger: &Trigger| matches!(trigger, Trigger::Exhaustion(_));
    assert!(!spec.triggers.iter().any(unavailable), "what this version does not have, it refuses");
    let now = jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).expect("a time");
    Triggers::new(&spec.triggers, &now).expect("validated triggers compile");
}

/// YAML as `podsweep check` reads it, JSON as the HTTP endpoint does.
fn survives(policy: &SweepPolicy) {
    let yaml = serde_saphyr::to_string(policy).expect("a policy is YAML");
    assert_eq!(&policy::parse(&yaml, Path::new(NAME)).expect(&yaml), policy, "{yaml}");
    let json = serde_json::to_string(policy).expect("a policy is JSON");
    assert_eq!(&serde_json::from_str::<SweepPolicy>(&json).expect(&json), policy, "{json}");
}
