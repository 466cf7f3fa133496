//! The sockets: a unix socket that only its owner may open, and loopback TCP where a token file is given.
//!
//! In: [`Endpoints`]. Out: bound [`Listeners`]. Must never: take the socket from an agent that answers, listen on an
//! address that other hosts reach.
#![allow(clippy::disallowed_methods, reason = "replaces and removes the agent's own socket")]

use std::fs::{DirBuilder, Metadata, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::token::{self, TokenError};

/// How long a socket that is already there may take to answer before it counts as served: a busy agent is not dead.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The unix socket.
    pub socket: PathBuf,
    /// A loopback address, if wanted.
    pub listen: Option<SocketAddr>,
    /// The bearer token that TCP clients must bring; required with `listen`.
    pub token_file: Option<PathBuf>,
}

/// Bound sockets, not yet served.
#[derive(Debug)]
pub struct Listeners {
    pub(super) unix: UnixListener,
    pub(super) socket: OwnSocket,
    pub(super) tcp: Option<(TcpListener, PathBuf)>,
}

/// Listening is not possible.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another agent serves the socket.
    #[error("an agent already answers at {0:?}; stop it first, or give this one another socket")]
    Served(PathBuf),
    /// Something else has that name.
    #[error("{0:?} is there and is no socket; move it away, or give the agent another socket")]
    NotASocket(PathBuf),
    /// Anyone on the host could put a socket of their own in its place.
    #[error(
        "directory {0:?} is writable by everyone, so the socket in it could be replaced; run: chmod o-w {0:?}"
    )]
    OpenDirectory(PathBuf),
    /// The system refused.
    #[error("cannot {operation} {path:?}: {source}")]
    Socket {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// An address that other hosts may reach.
    #[error("listen: {0} is not a loopback address; use 127.0.0.1 or [::1] and a port")]
    NotLoopback(SocketAddr),
    /// TCP without a token.
    #[error("listen: {0} needs tokenFile: every TCP client must bring the token in it")]
    NoToken(SocketAddr),
    /// The token file cannot serve.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The system refused the address.
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

impl Listeners {
    /// Binds everything, or nothing: a configured address that cannot be had is an error, not a smaller service.
    pub async fn bind(endpoints: &Endpoints) -> Result<Self, ListenError> {
        let tcp = match endpoints.listen {
            Some(address) => Some(bind_tcp(address, endpoints.token_file.as_deref()).await?),
            None => None,
        };
        let (unix, socket) = bind_unix(&endpoints.socket).await?;
        Ok(Self { unix, socket, tcp })
    }

    /// The TCP address, with the port that the kernel chose where 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }
}

async fn bind_tcp(address: SocketAddr, token: Option<&Path>) -> Result<(TcpListener, PathBuf), ListenError> {
    if !address.ip().is_loopback() {
        return Err(ListenError::NotLoopback(address));
    }
    let token_file = token.ok_or(ListenError::NoToken(address))?;
    token::read(token_file)?;
    let listener = TcpListener::bind(address).await.map_err(|source| ListenError::Tcp { address, source })?;
    Ok((listener, token_file.to_path_buf()))
}

async fn bind_unix(path: &Path) -> Result<(UnixListener, OwnSocket), ListenError> {
    prepare_directory(path)?;
    refuse_if_served(path).await?;
    // Bound under another name and moved once its mode is right: nobody can connect before that, and a stale socket
    // is replaced in one step.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let failed = |operation| move |source| ListenError::Socket { operation, path: path.into(), source };
    let listener = UnixListener::bind(&fresh).map_err(failed("bind"))?;
    let moved = std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&fresh, path));
    if let Err(source) = moved {
        // Best effort: the error that matters is the one above.
        let _ = std::fs::remove_file(&fresh);
        return Err(failed("make")(source));
    }
    let metadata = std::fs::symlink_metadata(path).map_err(failed("look at"))?;
    Ok((listener, OwnSocket { path: path.into(), identity: identity(&metadata) }))
}

fn prepare_directory(socket: &Path) -> Result<(), ListenError> {
    let Some(directory) = socket.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    let failed = |operation| move |source| ListenError::Socket { operation, path: directory.into(), source };
    DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(failed("make directory"))?;
    let mode = std::fs::metadata(directory).map_err(failed("look at directory"))?.mode();
    // In a sticky directory (/tmp) only the owner may replace a name.
    let (world_writable, sticky) = (mode & 0o002 != 0, mode & 0o1000 != 0);
    if world_writable && !sticky { Err(ListenError::OpenDirectory(directory.into())) } else { Ok(()) }
}

async fn refuse_if_served(path: &Path) -> Result<(), ListenError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ListenError::Socket { operation: "look at", path: path.into(), source }),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.into()));
        }
        Ok(_) => {}
    }
    match tokio::time::timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(Err(source)) => Err(ListenError::Socket { operation: "connect to", path: path.into(), source }),
        Ok(Ok(_)) | Err(_) => Err(ListenError::Served(path.into())),
    }
}

/// The socket's name, removed on drop unless another agent has put its own there since.
#[derive(Debug)]
pub(super) struct OwnSocket {
    path: PathBuf,
    identity: (u64, u64),
}

impl OwnSocket {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        let still_ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|now| identity(&now) == self.identity);
        if still_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = ?self.path, %error, "control socket not removed");
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_goes_away_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run").join("a.sock");
        let bound = bind_unix(&path).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o750);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no second name left");
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_answers_is_left_alone_and_a_stale_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let first = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(bind_unix(&path).await, Err(ListenError::Served(_))));
        drop(first);
        assert!(path.exists(), "std leaves the name behind: this is the stale socket");
        let bound = bind_unix(&path).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
        drop(bound);
    }

    #[tokio::test]
    async fn the_name_of_a_later_agent_survives_the_end_of_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let earlier = bind_unix(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let _later = bind_unix(&path).await.unwrap();
        drop(earlier);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_file_of_that_name_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind_unix(&path).await, Err(ListenError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_directory_that_anyone_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let refused = bind_unix(&folder.path().join("a.sock")).await;
        assert!(matches!(refused, Err(ListenError::OpenDirectory(_))));
    }

    #[tokio::test]
    async fn tcp_is_loopback_with_a_token_or_not_at_all() {
        let any = "0.0.0.0:0".parse().unwrap();
        assert!(matches!(bind_tcp(any, None).await, Err(ListenError::NotLoopback(_))));
        let loopback = "127.0.0.1:0".parse().unwrap();
        assert!(matches!(bind_tcp(loopback, None).await, Err(ListenError::NoToken(_))));
        let missing = Path::new("/nonexistent/token");
        assert!(matches!(bind_tcp(loopback, Some(missing)).await, Err(ListenError::Token(_))));
    }
}
