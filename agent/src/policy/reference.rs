//! README.md, docs/policy.md, docs/config.md and deploy/policies against the types: a field that is not documented, or
//! an example that does not load, fails here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{SweepPolicy, load_folder};
use crate::config::{Config, KubernetesConfig};

/// Every field, enumerations aside, set once.
const EVERY_FIELD: &str = r#"
apiVersion: podsweep.io/v1alpha1
kind: SweepPolicy
metadata: {name: every-field}
spec:
  mode: Observe
  priority: 1
  select:
    namespaces: [a]
    podExpressions: [{key: k, operator: In, values: [v]}]
    workloads: [a]
    containers: [a]
    images: [a]
    cgroups: [/a]
  triggers:
  - burst: {createsPerSecond: 1, for: 1s}
  - growth: {filesPerMinute: 1, for: 1s}
  - nodeInodesFree: {below: 1%}
  - nodeBytesFree: {below: 1%}
  - exhaustion: {within: 1h}
  - schedule: "0 0 * * *"
  junk:
  - {name: a, paths: [/tmp/x]}
  sweep:
    stopWhen: {nodeInodesFree: 2%, nodeBytesFree: 2%}
  rollout:
    guards: [{name: a, query: up}]
"#;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            found.insert(key.clone());
            keys(value, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

/// Field names that stand in no row of the tables: neither alone nor as a part of `a.b`.
fn undocumented(value: &Value, document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository(document)).unwrap();
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let named: BTreeSet<String> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split(['`', '.', ',', ' ']))
        .map(|word| word.trim_end_matches("[]").to_owned())
        .collect();
    let mut all = BTreeSet::new();
    keys(value, &mut all);
    all.into_iter().filter(|key| !named.contains(key)).collect()
}

#[test]
fn every_field_of_a_policy_is_documented() {
    let policy: SweepPolicy = serde_saphyr::from_str(EVERY_FIELD).unwrap();
    let mut value = serde_json::to_value(&policy).unwrap();
    // The reader refuses an empty map, and labels in a filled one would count as fields.
    value["spec"]["select"]["podLabels"] = Value::Object(serde_json::Map::new());
    assert_eq!(undocumented(&value, "docs/policy.md"), Vec::<String>::new());
}

#[test]
fn every_field_of_the_config_is_documented() {
    let kubernetes = KubernetesConfig {
        kubeconfig: Some("/k".into()),
        node_name: Some("n".into()),
        ..KubernetesConfig::default()
    };
    let config = Config { kubernetes: Some(kubernetes), ..Config::default() };
    let value = serde_json::to_value(config).unwrap();
    assert_eq!(undocumented(&value, "docs/config.md"), Vec::<String>::new());
}

#[test]
fn the_example_in_the_config_document_loads() {
    let text = std::fs::read_to_string(repository("docs/config.md")).unwrap();
    let example = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_ne!(Config::parse(example, Path::new("config.md")).unwrap(), Config::default());
}

#[test]
fn the_policies_that_we_ship_load() {
    let shipped = load_folder(&repository("deploy/policies")).unwrap();
    let names: Vec<&str> = shipped.policies().iter().map(|policy| policy.metadata.name.as_str()).collect();
    assert_eq!(names, ["example"]);
    assert!(load_folder(&repository("tests/policies")).is_ok());
}

#[test]
fn the_readme_shows_the_policy_that_we_ship() {
    let shipped = std::fs::read_to_string(repository("deploy/policies/example.yaml")).unwrap();
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    assert!(readme.contains(&format!("```yaml\n{shipped}```\n")));
}
