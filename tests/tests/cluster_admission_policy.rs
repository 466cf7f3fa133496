//! What the admission policies of deploy/ let an agent do, and what not.
//!
//! ValidatingAdmissionPolicy came with Kubernetes 1.30, and no such server can be built here. So the policies'
//! expressions, read from the files that people apply, are evaluated by an interpreter of CEL that others have written,
//! in the order and with the failure policy that the API documents. What a server adds, its check of types, is not in it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

use std::fs;
use std::path::Path;

use cel::parser::Parser;
use cel::{Context, Value as Cel};
use serde_json::{Map, Value, json};

const COMPONENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/components/admission-policy");
const AGENT: &str = "system:serviceaccount:podsweep-system:podsweep-agent";

/// One policy, as the file has it.
struct Policy(Value);

/// A request as the API server shows it to a policy.
struct Request {
    operation: &'static str,
    user: &'static str,
    node: Option<&'static str>,
    object: Value,
    old: Value,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    NotAsked,
    Allowed,
    Denied(String),
}

impl Policy {
    fn load(file: &str) -> Self {
        let text = fs::read_to_string(Path::new(COMPONENT).join(file)).unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let policy =
            objects.into_iter().find(|object| object["kind"] == "ValidatingAdmissionPolicy").unwrap();
        assert_eq!(policy["spec"]["failurePolicy"], "Fail");
        Self(policy["spec"].clone())
    }

    fn items(&self, field: &str) -> impl Iterator<Item = &Value> {
        self.0[field].as_array().unwrap_or_else(|| panic!("no {field}")).iter()
    }

    fn judge(&self, request: &Request) -> Verdict {
        let mut known = request.context();
        for condition in self.items("matchConditions") {
            match evaluate(condition["expression"].as_str().unwrap(), &known) {
                Ok(Cel::Bool(true)) => {}
                Ok(Cel::Bool(false)) => return Verdict::NotAsked,
                other => return Verdict::Denied(format!("{condition}: {other:?}")),
            }
        }
        let mut variables = Map::new();
        for variable in self.items("variables") {
            let value = match evaluate(variable["expression"].as_str().unwrap(), &known) {
                Ok(value) => value,
                Err(error) => return Verdict::Denied(error),
            };
            variables.insert(variable["name"].as_str().unwrap().to_owned(), value.json().unwrap());
            known.add_variable("variables", &variables).unwrap();
        }
        let refused = self.items("validations").find_map(|validation| {
            match evaluate(validation["expression"].as_str().unwrap(), &known) {
                Ok(Cel::Bool(true)) => None,
                Ok(Cel::Bool(false)) => Some(message(validation, &known)),
                other => Some(format!("{validation}: {other:?}")),
            }
        });
        refused.map_or(Verdict::Allowed, Verdict::Denied)
    }
}

fn message(validation: &Value, known: &Context<'_, '_>) -> String {
    let plain = validation["message"].as_str().unwrap();
    let Some(expression) = validation["messageExpression"].as_str() else { return plain.to_owned() };
    match evaluate(expression, known) {
        Ok(Cel::String(told)) => told.to_string(),
        other => panic!("{expression}: {other:?}"),
    }
}

fn evaluate(expression: &str, known: &Context<'_, '_>) -> Result<Cel, String> {
    let parsed = Parser::default().enable_optional_syntax(true).parse(expression);
    let parsed = parsed.unwrap_or_else(|error| panic!("{expression}: {error}"));
    Cel::resolve(&parsed, known).map_err(|error| format!("{expression}: {error}"))
}

impl Request {
    /// By an agent on `node-1`.
    fn of(operation: &'static str, object: Value, old: Value) -> Self {
        Self { operation, user: AGENT, node: Some("node-1"), object, old }
    }

    fn context(&self) -> Context<'static, 'static> {
        let mut extra = json!({"authentication.kubernetes.io/pod-name": ["podsweep-agent-x"]});
        if let Some(node) = self.node {
            extra["authentication.kubernetes.io/node-name"] = json!([node]);
        }
        let request = json!({
            "operation": self.operation,
            "userInfo": {"username": self.user, "extra": extra},
        });
        let mut context = Context::default();
        context.add_variable("request", &request).unwrap();
        context.add_variable("object", &self.object).unwrap();
        context.add_variable("oldObject", &self.old).unwrap();
        context
    }
}

fn denied(verdict: Verdict, why: &str) {
    match verdict {
        Verdict::Denied(said) if said.contains(why) => {}
        other => panic!("{other:?}, not {why:?}"),
    }
}

fn sweep(node: &str) -> Value {
    json!({"metadata": {"name": "s", "namespace": "shop"}, "spec": {"node": node}})
}

#[test]
fn an_agent_writes_sweeps_of_its_own_node_only() {
    let policy = Policy::load("sweeps.yaml");
    let judge = |operation, object, old| policy.judge(&Request::of(operation, object, old));
    assert_eq!(judge("CREATE", sweep("node-1"), Value::Null), Verdict::Allowed);
    assert_eq!(judge("UPDATE", sweep("node-1"), sweep("node-1")), Verdict::Allowed);
    assert_eq!(judge("DELETE", Value::Null, sweep("node-1")), Verdict::Allowed);
    let message = "this one is on node-2, the token is of node-1";
    denied(judge("CREATE", sweep("node-2"), Value::Null), message);
    denied(judge("UPDATE", sweep("node-2"), sweep("node-1")), message);
    denied(judge("UPDATE", sweep("node-1"), sweep("node-2")), "sweeps of its own node only");
    denied(judge("DELETE", Value::Null, sweep("node-2")), message);
}

#[test]
fn a_token_without_a_node_may_nothing_and_others_are_not_asked() {
    for (file, object) in
        [("sweeps.yaml", sweep("")), ("slots.yaml", slot("/shop/s/uid")), ("events.yaml", event("", "Pod"))]
    {
        let policy = Policy::load(file);
        let mut request = Request::of("UPDATE", object.clone(), object);
        request.node = None;
        denied(policy.judge(&request), "names no node");
        request.user = "system:serviceaccount:podsweep-system:podsweep-coordinator";
        assert_eq!(policy.judge(&request), Verdict::NotAsked, "{file}");
    }
}

/// Without a holder: nobody's.
fn slot(holder: &str) -> Value {
    if holder.is_empty() {
        return json!({"metadata": {"name": "podsweep-slot-0"}, "spec": {}});
    }
    json!({"metadata": {"name": "podsweep-slot-0"}, "spec": {"holderIdentity": holder}})
}

#[test]
fn an_agent_renews_and_frees_what_its_node_holds_and_grants_nothing() {
    let policy = Policy::load("slots.yaml");
    let own = "node-1/shop/s/uid";
    let update = |after: &str, before: &str| policy.judge(&Request::of("UPDATE", slot(after), slot(before)));
    assert_eq!(update(own, own), Verdict::Allowed, "renews");
    assert_eq!(update("", own), Verdict::Allowed, "frees");
    denied(update("node-1/shop/other/uid", own), "grants no slot");
    denied(update(own, ""), "its own node holds only");
    denied(update("", "node-2/shop/s/uid"), r#"this one is held by "node-2/shop/s/uid""#);
    // A node whose name begins as this one's does is another.
    denied(update("", "node-10/shop/s/uid"), "its own node holds only");
    denied(policy.judge(&Request::of("CREATE", slot(own), Value::Null)), "makes and removes none");
    denied(policy.judge(&Request::of("DELETE", Value::Null, slot(own))), "makes and removes none");
    // Before it was ever granted it has no spec at all.
    let unused = json!({"metadata": {"name": "podsweep-slot-0"}});
    denied(policy.judge(&Request::of("UPDATE", slot(own), unused)), "its own node holds only");
}

fn event(signed: &str, kind: &str) -> Value {
    json!({"metadata": {"name": "e"}, "reportingInstance": signed, "regarding": {"kind": kind, "name": "p"}})
}

#[test]
fn an_agent_signs_its_events_and_they_are_about_pods() {
    let policy = Policy::load("events.yaml");
    let create = |object| policy.judge(&Request::of("CREATE", object, Value::Null));
    assert_eq!(create(event("node-1", "Pod")), Verdict::Allowed);
    denied(create(event("node-2", "Pod")), "the name of its own node");
    denied(create(event("node", "Pod")), "the name of its own node");
    denied(create(event("", "Pod")), "the name of its own node");
    denied(create(json!({"metadata": {"name": "e"}})), "the name of its own node");
    denied(create(event("node-1", "Secret")), "are about pods");
    let update = |object, old| policy.judge(&Request::of("UPDATE", object, old));
    assert_eq!(update(event("node-1", "Pod"), event("node-1", "Pod")), Verdict::Allowed);
    denied(update(event("node-1", "Pod"), event("node-2", "Pod")), "another agent's");
}

#[test]
fn a_nodes_name_that_is_too_long_to_sign_with_is_cut_where_the_api_cuts() {
    const LONG: &str = "a-node-with-a-very-long-name-a-node-with-a-very-long-name-a-node-with-a-very-long-name-\
                        a-node-with-a-very-long-name-a-node-with-a-very-long-name.example";
    let policy = Policy::load("events.yaml");
    let signed_with = |signed: &str| {
        let request =
            Request { node: Some(LONG), ..Request::of("CREATE", event(signed, "Pod"), Value::Null) };
        policy.judge(&request)
    };
    assert_eq!(signed_with(&LONG[..128]), Verdict::Allowed);
    denied(signed_with(&LONG[..127]), "the name of its own node");
}
