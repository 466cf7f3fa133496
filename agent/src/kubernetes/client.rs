//! One connection to the API server.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::config::KubernetesConfig;

/// There is no way to the API server; nothing was asked of it yet.
#[derive(Debug, thiserror::Error)]
#[error("the Kubernetes API cannot be reached: {0}")]
pub struct ConnectError(String);

/// A client by the node's configuration: a kubeconfig's, else the pod's service account's.
pub async fn connect(settings: &KubernetesConfig) -> Result<Client, ConnectError> {
    let config = match &settings.kubeconfig {
        Some(path) => {
            let failed = |error| ConnectError(format!("kubeconfig {}: {error}", path.display()));
            let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)?
        }
        None => Config::incluster().map_err(|error| ConnectError(error.to_string()))?,
    };
    Client::try_from(config).map_err(|error| ConnectError(error.to_string()))
}
