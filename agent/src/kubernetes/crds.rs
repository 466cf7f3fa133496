//! The custom resource definitions as `kubectl apply` takes them: deploy/base/crds.yaml.
//!
//! In: the types of `resources`. Out: YAML. Must never: have a server fill in a default (then the default of the day on
//! which a policy was made would hold for ever; the program's are in the descriptions), or hold what a server of 1.20
//! refuses or a current one warns of.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

use super::resources::definitions;

const HEAD: &str = "\
# Made from the types in agent/src/kubernetes/resources. To write it anew: `cargo xtask gen`.
";

/// Policies are known by name in labels and metrics: a DNS label, as in files (policy/validate.rs).
const POLICY_NAME: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
const MAX_POLICY_NAME: u64 = 63;

/// A definition that cannot be written down.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// As JSON.
    #[error("cannot write a custom resource definition as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// As YAML.
    #[error("cannot write a custom resource definition as YAML: {0}")]
    Yaml(#[from] serde_saphyr::SerializeError),
}

/// All definitions as one YAML file.
pub fn manifest() -> Result<String, ManifestError> {
    let definitions = definitions();
    let documents = definitions.iter().map(|one| Ok(serde_saphyr::to_string(&for_servers(one)?)?));
    let documents: Vec<String> = documents.collect::<Result<_, ManifestError>>()?;
    Ok(format!("{HEAD}{}", documents.join("---\n")))
}

fn for_servers(definition: &CustomResourceDefinition) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(definition)?;
    value["metadata"]["labels"] = json!({ "app.kubernetes.io/part-of": "podsweep" });
    let is_policy = value["spec"]["names"]["kind"] == "SweepPolicy";
    for version in value["spec"]["versions"].as_array_mut().into_iter().flatten() {
        let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") else { continue };
        if is_policy {
            schema["properties"]["metadata"] = json!({
                "type": "object",
                "properties": { "name": { "type": "string", "maxLength": MAX_POLICY_NAME, "pattern": POLICY_NAME } },
            });
        }
        simplify(schema);
    }
    Ok(value)
}

/// A schema and all below it.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if is_schema(fields) {
                tell_default(fields);
                forget_format(fields);
                // What is left out is left out: nobody reads a null.
                fields.remove("nullable");
            }
            fields.values_mut().for_each(simplify);
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Number(number) => {
            // The types hold every bound as a float.
            if let Some(whole) = whole(number.as_f64()) {
                *schema = json!(whole);
            }
        }
        _ => {}
    }
}

fn whole(number: Option<f64>) -> Option<i64> {
    /// Integers up to here are floats without loss.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = number.filter(|number| number.fract() == 0.0 && number.abs() <= EXACT)?;
    #[allow(clippy::cast_possible_truncation, reason = "whole, and within an i64 by the filter")]
    Some(number as i64)
}

/// Moves a default into the description, where it is short enough to be read there.
fn tell_default(schema: &mut Map<String, Value>) {
    let said = match schema.remove("default") {
        Some(Value::String(text)) if !text.is_empty() => text,
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
        Some(Value::Array(items)) if !items.is_empty() => {
            let words =
                items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
            words.collect::<Vec<_>>().join(", ")
        }
        _ => return,
    };
    if let Some(Value::String(description)) = schema.get_mut("description") {
        description.push_str(" Default: ");
        description.push_str(&said);
        description.push('.');
    }
}

/// `uint32` and the like are Rust's; servers from 1.33 on warn of formats that they do not know.
fn forget_format(schema: &mut Map<String, Value>) {
    if schema.get("format").and_then(Value::as_str).is_some_and(|name| name.starts_with("uint")) {
        schema.remove("format");
    }
}

/// A schema, and not the list of an object's properties, whose names may be any.
fn is_schema(fields: &Map<String, Value>) -> bool {
    let is_type = |value: &Value| value.is_string() || value.is_array();
    fields.get("type").is_some_and(is_type)
        || fields.get("x-kubernetes-int-or-string").is_some_and(Value::is_boolean)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every object of a JSON value.
    fn objects<'a>(value: &'a Value, found: &mut Vec<&'a Map<String, Value>>) {
        match value {
            Value::Object(fields) => {
                found.push(fields);
                fields.values().for_each(|value| objects(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| objects(item, found)),
            _ => {}
        }
    }

    #[test]
    fn no_default_is_left_to_a_server_no_null_is_taken_and_no_format_is_rusts_own() {
        let definitions: Vec<_> =
            definitions().iter().map(|definition| for_servers(definition).unwrap()).collect();
        let definitions = Value::Array(definitions);
        let mut found = Vec::new();
        objects(&definitions, &mut found);
        for fields in found {
            assert!(!fields.contains_key("default") && !fields.contains_key("nullable"), "{fields:?}");
            let format = fields.get("format").and_then(Value::as_str).unwrap_or_default();
            assert!(!format.starts_with("uint"), "{fields:?}");
        }
    }

    #[test]
    fn defaults_are_told_to_people() {
        let mut schema = json!({
            "type": "object",
            "properties": {
                "default": { "type": "string", "description": "Where.", "default": "here" },
                "limit": { "type": "integer", "format": "uint32", "minimum": 0.0, "nullable": true, "default": 3, "description": "Times." },
                "by": { "type": "array", "description": "What.", "default": ["Workload", "Node"] },
            },
            "default": { "limit": 3 },
        });
        simplify(&mut schema);
        let expected = json!({
            "type": "object",
            "properties": {
                "default": { "type": "string", "description": "Where. Default: here." },
                "limit": { "type": "integer", "minimum": 0, "description": "Times. Default: 3." },
                "by": { "type": "array", "description": "What. Default: Workload, Node." },
            },
        });
        assert_eq!(schema, expected);
    }

    #[test]
    fn the_reference_is_what_the_types_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/base/crds.yaml");
        let made = manifest().unwrap();
        if std::env::var_os("PODSWEEP_BLESS").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == made, "deploy/base/crds.yaml is out of date; run `cargo xtask gen`");
    }

    #[test]
    fn yaml_says_what_the_types_say() {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&manifest().unwrap()).unwrap();
        let made: Vec<_> = definitions().iter().map(|one| for_servers(one).unwrap()).collect();
        assert_eq!(documents, made);
    }
}
