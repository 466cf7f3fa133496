//! For fuzz/ only, behind the feature `fuzzing`: the parsers of what strangers write, which nothing else outside
//! this crate needs.
//!
//! In: bytes of a stranger's. Out: what the agent or the worker makes of them. Must never: hold logic of its own, or a
//! target would prove something about this file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::control::router::{self, Access};
use crate::control::{Node, serve};
use crate::inventory::Runtime;
use crate::inventory::{cgroup_name, mounts, overlay};
use crate::scan::protocol::Checked;
use crate::scan::wire::{self, Messages, WireError};
use crate::scan::{ScanMessage, ScanRequest};
use crate::sweep::deleter::{DeleterError, look_through};

/// Whose container a cgroup is, by its path: runtime, container id, pod uid.
pub fn container_of_cgroup(path: &str) -> Option<(Runtime, String, Option<String>)> {
    cgroup_name::recognise(path).map(|name| (name.runtime, name.id, name.pod_uid))
}

/// The cgroups above a path, nearest first.
pub fn cgroups_above(path: &str) -> impl Iterator<Item = &str> {
    cgroup_name::ancestors(path)
}

/// Whether a cgroup is another or lies below it.
pub fn is_cgroup_within(path: &str, above: &str) -> bool {
    cgroup_name::is_within(path, above)
}

/// One line of mountinfo.
#[derive(Debug)]
pub struct Mount {
    /// The directory of the filesystem which is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// Options of the filesystem, still escaped.
    pub options: String,
}

/// The mounts of a mountinfo; `None` where a line cannot be read.
pub fn mounts(mountinfo: &[u8]) -> Option<Vec<Mount>> {
    let mounts = mounts::parse(mountinfo).ok()?;
    let shown = |mount: mounts::Mount| Mount { root: mount.root, point: mount.point, options: mount.options };
    Some(mounts.into_iter().map(shown).collect())
}

/// What overlayfs's options name: readings of the upper directory, lower layers.
pub fn overlay_layers(options: &str) -> Option<(Vec<PathBuf>, Vec<PathBuf>)> {
    overlay::Options::parse(options).map(|options| (options.upper_readings(), options.lower))
}

/// What the agent sends to the worker.
pub fn encode_request(request: &ScanRequest) -> Result<Vec<u8>, WireError> {
    wire::encode_request(request)
}

/// What the worker makes of it.
pub fn read_request(bytes: &[u8]) -> Result<Option<ScanRequest>, WireError> {
    wire::read_request(bytes)
}

/// What the worker sends to the agent.
pub fn encode_message(message: &ScanMessage) -> Result<Vec<u8>, WireError> {
    let mut frame = Vec::new();
    wire::append(message, &mut frame).map(|()| frame)
}

/// The messages that the agent reads and believes, up to the report or the first that it does not, and why there are
/// no more.
pub async fn believed(bytes: &[u8], request: &ScanRequest) -> (Vec<ScanMessage>, Result<(), String>) {
    let (mut messages, mut checked) = (Messages::new(bytes), Checked::new(request));
    let mut believed = Vec::new();
    loop {
        match messages.next().await {
            Ok(None) => return (believed, Ok(())),
            Err(error) => return (believed, Err(error.to_string())),
            Ok(Some(message)) => {
                if let Err(why) = checked.check(&message) {
                    return (believed, Err(why));
                }
                let is_report = matches!(message, ScanMessage::End(_));
                believed.push(message);
                if is_report {
                    return (believed, Ok(()));
                }
            }
        }
    }
}

/// A deleter that may only look, shown `directory` and then given these packets: its answers, and how it ended.
pub fn deleter(directory: &Path, packets: &[&[u8]]) -> (Vec<Vec<u8>>, Result<(), DeleterError>) {
    look_through(directory, packets)
}

/// Serves one connection to its end: as the unix socket does, or with a token file as TCP does.
pub async fn serve_connection<I>(io: I, node: Arc<dyn Node>, token_file: Option<&Path>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let access = token_file.map_or(Access::Socket, |file| Access::Token(file.into()));
    if let Ok(place) = Arc::new(Semaphore::new(1)).try_acquire_owned() {
        serve::connection(io, router::new(node, access), CancellationToken::new(), place).await;
    }
}
