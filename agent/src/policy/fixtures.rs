//! A container and a policy for the tests of this stage.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::SweepPolicy;
use crate::inventory::{CgroupId, Container, Layer, Names, Process, Runtime, Volume, VolumeKind};

/// A pod's container with an overlay root, an emptyDir at `/scratch` and a ConfigMap at `/etc/app`.
pub(crate) fn container() -> Container {
    Container {
        cgroup: CgroupId(7),
        cgroup_path: "/kubepods.slice/pod1.slice/cri-containerd-abc.scope".into(),
        nested: Vec::new(),
        runtime: Runtime::Containerd,
        id: "abcdef0123456789".into(),
        names: Names {
            namespace: Some("prod-eu".into()),
            pod: Some("billing-1".into()),
            pod_uid: None,
            container: Some("app".into()),
            image: Some("docker.io/acme/billing:1.2".into()),
            workload: Some("Deployment/billing".into()),
            labels: BTreeMap::from([("app".to_owned(), "billing".to_owned())]),
        },
        first: Process { pid: 1, start_time: 1 },
        layer: Some(Layer { upper: "/upper".into(), lower: vec!["/lower".into()], mount_id: 1 }),
        volumes: vec![Volume {
            kind: VolumeKind::EmptyDir,
            mount_point: "/scratch".into(),
            host_path: "/empty-dir".into(),
            mount_id: 2,
        }],
        other_mounts: vec!["/proc".into(), "/etc/app".into()],
    }
}

/// A valid policy for [`container`], with more lines appended to its spec.
pub(crate) fn policy(name: &str, more: &str) -> Arc<SweepPolicy> {
    let text = format!(
        "apiVersion: podsweep.io/v1alpha1\nkind: SweepPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         select: {{containers: [app]}}\n  junk: [{{name: scratch, paths: ['/tmp/**', '/scratch/**'], \
         volumes: [WritableLayer, EmptyDir], exclude: ['**/*.lock']}}]\n{more}\n"
    );
    Arc::new(super::parse(&text, Path::new("fixture.yaml")).unwrap())
}
