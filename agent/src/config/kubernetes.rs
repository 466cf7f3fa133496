//! The node's place in a Kubernetes cluster, as its configuration names it.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::Config;
use crate::document::Problems;

/// The environment variable that a DaemonSet fills from `spec.nodeName`.
const NODE_NAME: &str = "PODSWEEP_NODE_NAME";

/// Longest name of an object (a DNS subdomain, RFC 1123) and of a namespace (a DNS label).
const MAX_NAME: usize = 253;
const MAX_NAMESPACE: usize = 63;

/// The `kubernetes` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// How to reach the API server; left out: as the pod's service account says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// This node's name in the cluster; left out: as the environment's `PODSWEEP_NODE_NAME` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Namespace of the slots' Leases.
    pub namespace: String,
    /// Pods of these QoS classes are never swept.
    pub protect_qos: Vec<QosClass>,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            node_name: None,
            namespace: "podsweep-system".into(),
            protect_qos: Vec::new(),
        }
    }
}

/// A pod's quality of service, as the API server works it out from its requests and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum QosClass {
    /// Each container has limits, and requests as high.
    Guaranteed,
    /// Some have requests or limits.
    Burstable,
    /// None has.
    BestEffort,
}

impl QosClass {
    /// As the API writes it.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Guaranteed, Self::Burstable, Self::BestEffort].into_iter().find(|class| class.as_str() == word)
    }

    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// The node has no name that the API server could know it by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kubernetes.nodeName is not set, and PODSWEEP_NODE_NAME {0}; a DaemonSet sets it from spec.nodeName")]
pub struct NoNodeName(&'static str);

impl KubernetesConfig {
    /// The node's name: the configuration's, else the environment's.
    pub fn node(&self) -> Result<String, NoNodeName> {
        self.node_or(std::env::var(NODE_NAME).ok())
    }

    fn node_or(&self, environment: Option<String>) -> Result<String, NoNodeName> {
        let name = self.node_name.clone().or(environment).ok_or(NoNodeName("is not set either"))?;
        if is_subdomain(&name) { Ok(name) } else { Err(NoNodeName("is no name of a node")) }
    }
}

/// `kubernetes:` with nothing after it could be meant as "with all defaults" or as "none".
pub(super) fn given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<KubernetesConfig>, D::Error> {
    KubernetesConfig::deserialize(deserializer).map(Some)
}

/// What is wrong with the section.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    let Some(kubernetes) = &config.kubernetes else { return };
    if config.policies != Config::default().policies {
        let message =
            "is not read with kubernetes: policies are SweepPolicy objects there; remove one of the two";
        problems.add("policies", message);
    }
    if let Some(path) = kubernetes.kubeconfig.as_ref().filter(|path| !path.is_absolute()) {
        let message = format!("{} is not absolute; begin it with /", path.display());
        problems.add("kubernetes.kubeconfig", message);
    }
    if let Some(name) = kubernetes.node_name.as_ref().filter(|name| !is_subdomain(name)) {
        problems
            .add("kubernetes.nodeName", format!("{name:?} is no name of a node; see `kubectl get nodes`"));
    }
    if !is_label(&kubernetes.namespace) {
        let message = format!(
            "{:?} is no namespace; use 1 to {MAX_NAMESPACE} of a-z, 0-9 and -, no - at either end",
            kubernetes.namespace
        );
        problems.add("kubernetes.namespace", message);
    }
}

fn is_subdomain(name: &str) -> bool {
    name.len() <= MAX_NAME && name.split('.').all(is_plain)
}

fn is_label(name: &str) -> bool {
    name.len() <= MAX_NAMESPACE && is_plain(name)
}

fn is_plain(part: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !part.is_empty() && part.bytes().all(inside) && !part.starts_with('-') && !part.ends_with('-')
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("c.yaml")).map_err(|error| error.to_string())
    }

    #[test]
    fn without_the_section_there_is_no_kubernetes_and_an_empty_one_is_the_default() {
        assert_eq!(parse("slots: 2").unwrap().kubernetes, None);
        assert_eq!(parse("kubernetes: {}").unwrap().kubernetes, Some(KubernetesConfig::default()));
        for unclear in ["kubernetes:", "kubernetes: null", "kubernetes: ~"] {
            assert!(parse(unclear).is_err(), "{unclear}: {:?}", parse(unclear));
        }
    }

    #[test]
    fn every_field_is_read_and_written_back() {
        let text = "kubernetes: {kubeconfig: /k, nodeName: node-1.example, namespace: sweeping, \
                    protectQos: [Guaranteed, BestEffort]}";
        let config = parse(text).unwrap();
        let kubernetes = config.kubernetes.clone().unwrap();
        assert_eq!(kubernetes.protect_qos, [QosClass::Guaranteed, QosClass::BestEffort]);
        assert_eq!(parse(&serde_saphyr::to_string(&config).unwrap()).unwrap(), config);
        let none = Config { kubernetes: None, ..config };
        assert_eq!(parse(&serde_saphyr::to_string(&none).unwrap()).unwrap(), none);
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let text = "policies: /p\nkubernetes:\n  kubeconfig: k\n  nodeName: Node_1\n  namespace: a.b\n";
        let shown = parse(text).unwrap_err();
        let places: Vec<&str> = shown.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
        let expected = ["policies", "kubernetes.kubeconfig", "kubernetes.nodeName", "kubernetes.namespace"];
        assert_eq!(places, expected, "{shown}");
        assert!(parse("kubernetes: {nodeNam: x}").unwrap_err().contains("did you mean"));
        assert!(parse("kubernetes: {protectQos: [guaranteed]}").is_err());
    }

    #[test]
    fn the_nodes_name_is_the_configurations_and_then_the_environments() {
        let named = KubernetesConfig { node_name: Some("a".into()), ..KubernetesConfig::default() };
        assert_eq!(named.node_or(Some("b".into())), Ok("a".into()));
        let unnamed = KubernetesConfig::default();
        assert_eq!(unnamed.node_or(Some("b.example".into())), Ok("b.example".into()));
        assert!(unnamed.node_or(None).unwrap_err().to_string().contains(NODE_NAME));
        // Else it would be a part of a field selector that means something else.
        assert!(unnamed.node_or(Some("b,metadata.name=x".into())).is_err());
    }

    #[test]
    fn a_class_of_qos_is_the_apis_word() {
        for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
            assert_eq!(QosClass::of_word(class.as_str()), Some(class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
        assert_eq!(QosClass::of_word("guaranteed"), None);
    }
}
