//! The bounds that an API server is told (the schema, `spec/*.rs`) against those that are checked here: what the schema
//! takes at its bound is taken, what is one past it is refused, under the same name.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::super::{SweepPolicy, validate};
use crate::document::Problem;

/// Every bounded field, set once and rightly.
const WHOLE: &str = r"
apiVersion: podsweep.io/v1alpha1
kind: SweepPolicy
metadata: {name: whole}
spec:
  select:
    namespaces: [a]
    podExpressions: [{key: k, operator: Exists}]
    workloads: [a]
    containers: [a]
    images: [a]
    cgroups: [/a]
  triggers:
  - burst: {createsPerSecond: 1, for: 1s}
  - growth: {filesPerMinute: 1, for: 1s}
  junk:
  - {name: a, paths: [/tmp/x], exclude: [/tmp/y], owners: [0]}
  never: [/data]
  rollout:
    guards: [{name: a, query: up}]
";

/// A place where the schema has a bound.
#[derive(Debug)]
struct Bound {
    /// As JSON pointers have it: `/spec/junk/0/paths`.
    pointer: String,
    /// As problems have it: `spec.junk[0].paths`.
    field: String,
    /// Right at the bound.
    taken: Value,
    /// One past it.
    refused: Value,
}

fn whole() -> Value {
    serde_json::to_value(serde_saphyr::from_str::<SweepPolicy>(WHOLE).unwrap()).unwrap()
}

fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<SweepPolicy>().to_value()
}

fn bounds(schema: &Value, value: &Value, pointer: &str, field: &str, found: &mut Vec<Bound>) {
    let mut add = |taken: Value, refused: Value| {
        found.push(Bound { pointer: pointer.to_owned(), field: field.to_owned(), taken, refused });
    };
    if let Some(least) = schema["minimum"].as_i64().filter(|least| *least > 0) {
        add(json!(least), json!(least - 1));
    }
    if let Some(most) = schema["maximum"].as_i64() {
        add(json!(most), json!(most + 1));
    }
    if let (Some(items), Some(first)) = (value.as_array(), value.get(0)) {
        if let Some(most) = schema["maxItems"].as_u64().and_then(|most| usize::try_from(most).ok()) {
            add(json!(vec![first; most]), json!(vec![first; most + 1]));
        }
        if schema["minItems"] == 1 {
            add(json!([first]), json!([]));
        }
        for (index, item) in items.iter().enumerate() {
            bounds(
                &schema["items"],
                item,
                &format!("{pointer}/{index}"),
                &format!("{field}[{index}]"),
                found,
            );
        }
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(key) {
            let field = format!("{field}.{key}");
            bounds(property, value, &format!("{pointer}/{key}"), field.trim_start_matches('.'), found);
        }
    }
    // One kind of trigger each: those that the value is not have no property in common with it.
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        bounds(variant, value, pointer, field, found);
    }
}

/// Whether somebody says no to this field with this value.
fn is_refused(bound: &Bound, value: &Value) -> bool {
    let mut policy = whole();
    *policy.pointer_mut(&bound.pointer).unwrap() = value.clone();
    match serde_json::from_value::<SweepPolicy>(policy) {
        Ok(policy) => validate(&policy).iter().any(|Problem { field, .. }| *field == bound.field),
        // An empty line of `select` is refused by its reader.
        Err(_) => true,
    }
}

#[test]
fn the_schema_has_the_bounds_that_are_checked() {
    let mut found = Vec::new();
    bounds(&schema(), &whole(), "", "", &mut found);
    for bound in &found {
        assert!(!is_refused(bound, &bound.taken), "{}: {} is refused", bound.field, bound.taken);
        assert!(is_refused(bound, &bound.refused), "{}: {} is taken", bound.field, bound.refused);
    }
    // One of each kind, so that a schema without bounds does not pass.
    for field in ["spec.junk", "spec.never", "spec.triggers[1].growth.filesPerMinute", "spec.scan.readIOPS"] {
        assert!(found.iter().any(|bound| bound.field == field), "{field} has no bound: {found:#?}");
    }
}
