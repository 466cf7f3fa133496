//! A kubeconfig: where an API server is, and who somebody is to it. In: an address, an authority, a certificate or a
//! token. Out: a file of the kind that kubectl, kubelet and podsweep read, complete in itself but for the files beside
//! it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::authority::Credentials;

/// Who somebody is.
#[derive(Debug, Clone)]
pub enum Identity {
    /// By a certificate that the authority has signed.
    Certificate(Credentials),
    /// By a token of a service account.
    Token(String),
}

/// Writes `NAME.kubeconfig` into `folder`, where `ca.crt` is: `server` as `https://HOST:PORT`.
pub fn write(folder: &Path, name: &str, server: &str, identity: &Identity) -> Result<PathBuf> {
    let user = match identity {
        Identity::Token(token) => json!({"token": token}),
        Identity::Certificate(credentials) => certificate(folder, name, credentials)?,
    };
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": folder.join("ca.crt")}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
        "current-context": "test",
    });
    let file = folder.join(format!("{name}.kubeconfig"));
    write_secret(&file, &text.to_string())?;
    Ok(file)
}

/// Writes certificate and key beside each other: `NAME.crt`, `NAME.key`.
pub fn write_credentials(folder: &Path, name: &str, credentials: &Credentials) -> Result<(PathBuf, PathBuf)> {
    let [certificate, key] = ["crt", "key"].map(|ending| folder.join(format!("{name}.{ending}")));
    write_secret(&certificate, &credentials.certificate)?;
    write_secret(&key, &credentials.key)?;
    Ok((certificate, key))
}

/// Writes a file that nobody else may read.
pub fn write_secret(file: &Path, text: &str) -> Result<()> {
    let write = || {
        let mut open = fs::File::options();
        open.write(true).create(true).truncate(true).mode(0o600).open(file)?.write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

fn certificate(folder: &Path, name: &str, credentials: &Credentials) -> Result<Value> {
    let (certificate, key) = write_credentials(folder, name, credentials)?;
    Ok(json!({"client-certificate": certificate, "client-key": key}))
}
