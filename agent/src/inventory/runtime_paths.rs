//! Names from the files that the runtimes keep for themselves; no API, no socket, nothing running.
//!
//! In: a container id. Out: [`Names`], as far as a file tells. Must never: read a file past its limit, or one whose
//! path an id could bend (`..`, `/`); take an unreadable file for anything but "unknown".
//!
//! | runtime | file |
//! |---|---|
//! | containerd | `/run/containerd/io.containerd.runtime.v2.task/NAMESPACE/ID/config.json`, annotations |
//! | CRI-O | `/run/containers/storage/overlay-containers/ID/userdata/config.json`, annotations |
//! | Docker | `/var/lib/docker/containers/ID/config.v2.json` |
//! | Podman | `/var/lib/containers/storage/overlay-containers/{volatile-,}containers.json`, metadata |
//! | runc by hand | `/run/runc/ID/state.json`, annotations among the labels |

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{NameSource, Names};

/// Largest file about one container; an OCI config with a long seccomp profile has some 60 KiB.
const MAX_FILE: u64 = 1 << 20;

/// Largest list of all containers of Podman's store, some 2 KiB each.
const MAX_LIST: u64 = 8 << 20;

/// Most containerd namespaces that are looked into (a node has `k8s.io`, `moby`, `default`).
const MAX_NAMESPACES: usize = 16;

/// Most labels of one container that are kept, and the longest key or value, in bytes.
const MAX_LABELS: usize = 64;
const MAX_TEXT: usize = 1024;

/// The runtimes' own state files on this host.
#[derive(Debug, Clone)]
pub struct RuntimePaths {
    root: PathBuf,
}

impl Default for RuntimePaths {
    fn default() -> Self {
        Self::below("/")
    }
}

impl RuntimePaths {
    /// With the host's root at another place than `/` (an agent in a container; tests).
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn containerd(&self, id: &str) -> Option<Names> {
        let tasks = self.root.join("run/containerd/io.containerd.runtime.v2.task");
        let namespaces = std::fs::read_dir(tasks).ok()?.flatten().take(MAX_NAMESPACES);
        namespaces.map(|entry| entry.path().join(id).join("config.json")).find_map(|file| bundle(&file))
    }

    fn crio(&self, id: &str) -> Option<Names> {
        let containers = self.root.join("run/containers/storage/overlay-containers");
        bundle(&containers.join(id).join("userdata/config.json"))
    }

    fn docker(&self, id: &str) -> Option<Names> {
        let file = self.root.join("var/lib/docker/containers").join(id).join("config.v2.json");
        let docker: DockerContainer = json(&file, MAX_FILE)?;
        let labels = docker.config.labels.unwrap_or_default();
        let names = from_annotations(&labels);
        let own = short(docker.name.trim_start_matches('/'));
        Some(Names {
            container: names.container.or(own),
            image: docker.config.image.as_deref().and_then(short),
            labels: bounded(labels),
            ..names
        })
    }

    fn podman(&self, id: &str) -> Option<Names> {
        let store = self.root.join("var/lib/containers/storage/overlay-containers");
        ["volatile-containers.json", "containers.json"].iter().find_map(|list| {
            let all: Vec<StoredContainer> = json(&store.join(list), MAX_LIST)?;
            let found = all.into_iter().find(|container| container.id == id)?;
            let metadata: StoredMetadata = serde_json::from_str(&found.metadata).ok()?;
            let image = metadata.image.as_deref().and_then(short);
            Some(Names { container: metadata.name.as_deref().and_then(short), image, ..Names::default() })
        })
    }

    fn runc(&self, id: &str) -> Option<Names> {
        let state: RuncState = json(&self.root.join("run/runc").join(id).join("state.json"), MAX_FILE)?;
        let pairs = state.config.labels.iter().flatten().filter_map(|label| label.split_once('='));
        let labels = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let names = from_annotations(&labels);
        Some(Names { container: names.container.or_else(|| short(id)), ..names })
    }
}

impl NameSource for RuntimePaths {
    fn names(&self, id: &str, pod_uid: Option<&str>) -> Option<Names> {
        if !is_file_name(id) {
            return None;
        }
        let sources = [Self::containerd, Self::crio, Self::docker, Self::podman, Self::runc];
        let names = sources.iter().find_map(|source| source(self, id))?;
        Some(Names { pod_uid: pod_uid.map(str::to_owned).or(names.pod_uid), ..names })
    }
}

// Go writes an empty map or list as null.
#[derive(Deserialize)]
struct Bundle {
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct DockerContainer {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Config")]
    config: DockerConfig,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Image")]
    image: Option<String>,
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct StoredContainer {
    id: String,
    #[serde(default)]
    metadata: String,
}

#[derive(Deserialize)]
struct StoredMetadata {
    #[serde(rename = "image-name")]
    image: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct RuncState {
    config: RuncConfig,
}

#[derive(Deserialize)]
struct RuncConfig {
    labels: Option<Vec<String>>,
}

fn bundle(file: &Path) -> Option<Names> {
    json::<Bundle>(file, MAX_FILE).map(|bundle| from_annotations(&bundle.annotations.unwrap_or_default()))
}

// containerd's CRI plugin writes the first key, CRI-O and cri-dockerd the second.
fn from_annotations(annotations: &BTreeMap<String, String>) -> Names {
    let first = |keys: &[&str]| keys.iter().find_map(|key| short(annotations.get(*key)?));
    Names {
        namespace: first(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
        pod: first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        pod_uid: first(&["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"]),
        // The pod's sandbox has no container name: containerd writes none, the kubelet's old word is POD.
        container: first(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name"])
            .filter(|name| name != "POD"),
        image: first(&[
            "io.kubernetes.cri.image-name",
            "io.kubernetes.cri-o.ImageName",
            "org.opencontainers.image.ref.name",
        ]),
        workload: None,
        labels: BTreeMap::new(),
    }
}

fn short(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= MAX_TEXT).then(|| text.to_owned())
}

fn bounded(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let fits = |(key, value): &(String, String)| key.len() <= MAX_TEXT && value.len() <= MAX_TEXT;
    labels.into_iter().filter(fits).take(MAX_LABELS).collect()
}

fn is_file_name(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
    !id.is_empty() && id.len() <= 255 && !id.starts_with('.') && id.bytes().all(plain)
}

fn json<T: DeserializeOwned>(file: &Path, limit: u64) -> Option<T> {
    if !std::fs::metadata(file).ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    std::fs::File::open(file).ok()?.take(limit + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 > limit {
        tracing::debug!(?file, limit, "too large to read names from");
        return None;
    }
    serde_json::from_slice(&text).inspect_err(|error| tracing::debug!(?file, %error, "names unreadable")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn names_with(file: &str, text: &str, id: &str, pod_uid: Option<&str>) -> Option<Names> {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
        RuntimePaths::below(home.path()).names(id, pod_uid)
    }

    fn in_pod() -> Names {
        Names {
            namespace: Some("prod".into()),
            pod: Some("web-1".into()),
            pod_uid: Some("u".into()),
            container: Some("app".into()),
            image: Some("docker.io/library/web:1".into()),
            ..Names::default()
        }
    }

    #[test]
    fn containerd_writes_annotations_into_the_bundle() {
        let text = r#"{"ociVersion":"1.1.0","annotations":{"io.kubernetes.cri.container-name":"app",
            "io.kubernetes.cri.container-type":"container","io.kubernetes.cri.sandbox-name":"web-1",
            "io.kubernetes.cri.sandbox-namespace":"prod","io.kubernetes.cri.sandbox-uid":"u",
            "io.kubernetes.cri.image-name":"docker.io/library/web:1"},"root":{"path":"rootfs"}}"#;
        let file = format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json");
        assert_eq!(names_with(&file, text, ID, None), Some(in_pod()));
        let by_cgroup = names_with(&file, text, ID, Some("v")).unwrap();
        assert_eq!(by_cgroup.pod_uid.as_deref(), Some("v"));
    }

    #[test]
    fn crio_has_annotations_of_its_own_and_a_sandbox_no_name() {
        let text = |container: &str| {
            format!(
                r#"{{"annotations":{{"io.kubernetes.container.name":"{container}","io.kubernetes.pod.name":"web-1",
                "io.kubernetes.pod.namespace":"prod","io.kubernetes.pod.uid":"u",
                "io.kubernetes.cri-o.ImageName":"docker.io/library/web:1"}}}}"#
            )
        };
        let file = format!("run/containers/storage/overlay-containers/{ID}/userdata/config.json");
        assert_eq!(names_with(&file, &text("app"), ID, None), Some(in_pod()));
        assert_eq!(names_with(&file, &text("POD"), ID, None).unwrap().container, None);
    }

    #[test]
    fn docker_and_podman_and_runc_keep_name_and_image() {
        let docker =
            r#"{"State":{"Pid":1},"Name":"/web","Config":{"Image":"web:1","Labels":{"tier":"front"}}}"#;
        let found =
            names_with(&format!("var/lib/docker/containers/{ID}/config.v2.json"), docker, ID, None).unwrap();
        assert_eq!((found.container.as_deref(), found.image.as_deref()), (Some("web"), Some("web:1")));
        assert_eq!(found.labels["tier"], "front");
        let bare = r#"{"Name":"/web","Config":{"Image":"web:1","Labels":null}}"#;
        let found = names_with(&format!("var/lib/docker/containers/{ID}/config.v2.json"), bare, ID, None);
        assert_eq!(found.and_then(|names| names.container).as_deref(), Some("web"));

        let podman = format!(
            r#"[{{"id":"{ID}","names":["web"],"metadata":"{{\"image-name\":\"web:1\",\"name\":\"web\"}}"}}]"#
        );
        let list = "var/lib/containers/storage/overlay-containers/containers.json";
        let found = names_with(list, &podman, ID, None).unwrap();
        assert_eq!((found.container.as_deref(), found.image.as_deref()), (Some("web"), Some("web:1")));

        let runc =
            r#"{"id":"web","config":{"labels":["org.opencontainers.image.ref.name=web:1","bundle=/b"]}}"#;
        let found = names_with("run/runc/web/state.json", runc, "web", None).unwrap();
        assert_eq!((found.container.as_deref(), found.image.as_deref()), (Some("web"), Some("web:1")));
    }

    #[test]
    fn an_id_cannot_lead_elsewhere() {
        let runc = r#"{"config":{"labels":[]}}"#;
        assert!(names_with("run/runc/web/state.json", runc, "web", None).is_some());
        assert_eq!(names_with("run/other/state.json", runc, "../other", None), None);
        assert_eq!(names_with("run/runc/state.json", runc, ".", None), None);
    }

    #[test]
    fn what_is_too_large_or_broken_is_unknown() {
        let broken = names_with("run/runc/web/state.json", "{", "web", None);
        let padding = " ".repeat(usize::try_from(MAX_FILE).unwrap());
        let large = format!(r#"{{"config":{{"labels":[]}}}}{padding}"#);
        assert_eq!(broken, None);
        assert_eq!(names_with("run/runc/web/state.json", &large, "web", None), None);
    }
}
