//! A control plane: etcd and kube-apiserver, with RBAC. In: whether to audit; for a cluster with a node, its enclosure.
//! Out: kubeconfigs for an administrator, for service accounts, for anyone; an API server that can be paused, killed and
//! started again on the same etcd. It takes some five seconds to start, and 350 MB.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::audit::{self, Record};
use super::authority::{Authority, Credentials, token_keys};
use super::daemon::Daemon;
use super::enclosure::Enclosure;
use super::kubeconfig::{self, Identity};
use super::kubectl::Kubectl;
use super::programs::Programs;
use super::proxy::Proxy;
use crate::wait;
use crate::workspace::Workspace;

/// Ten times what an idle machine takes.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Another program may take a port between its choice and its use.
const TRIES: u32 = 3;
/// The service `kubernetes`: what a pod's environment names. First of [`SERVICES`].
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SERVICES: &str = "10.0.0.0/24";
/// Where it listens in a network of its own: at [`SERVICE`] too, so that no kube-proxy is needed.
const ENCLOSED_PORTS: Ports = Ports { api_server: 443, etcd: 2379, etcd_peer: 2380 };
/// Lifetime of a token, seconds: longer than any test. The server demands 600 at least.
const TOKEN_SECONDS: u32 = 7200;
/// Who may do everything (RBAC's own rule).
const MASTERS: &str = "system:masters";

/// What a test wants of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Keep a record of every request: see [`ControlPlane::audit`].
    pub audit: bool,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    api_server: u16,
    etcd: u16,
    etcd_peer: u16,
}

/// A running one. Dropped, nothing of it stays.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: the API server hangs in its end when etcd is gone.
    api_server: Option<Daemon>,
    etcd: Option<Daemon>,
    /// From the machine's loopback into its enclosure, where that has a network of its own.
    door: Option<Proxy>,
    enclosure: Arc<Enclosure>,
    ports: Ports,
    is_enclosed: bool,
    options: Options,
    authority: Authority,
    programs: Programs,
    workspace: Workspace,
}

impl ControlPlane {
    /// On the machine's loopback.
    pub fn start(prefix: &str, options: Options) -> Result<Self> {
        let mut last = None;
        for _ in 0..TRIES {
            match Self::make(prefix, options, Arc::new(Enclosure::of_processes()?), free_ports()?, false) {
                Ok(started) => return Ok(started),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("never tried")?)
    }

    /// In the network of an enclosure; the machine reaches it through a proxy on its loopback.
    pub fn start_in(enclosure: &Arc<Enclosure>, prefix: &str, options: Options) -> Result<Self> {
        Self::make(prefix, options, Arc::clone(enclosure), ENCLOSED_PORTS, true)
    }

    fn make(
        prefix: &str,
        options: Options,
        enclosure: Arc<Enclosure>,
        ports: Ports,
        is_enclosed: bool,
    ) -> Result<Self> {
        let mut plane = Self {
            api_server: None,
            etcd: None,
            door: None,
            enclosure,
            ports,
            is_enclosed,
            options,
            authority: Authority::new()?,
            programs: Programs::find()?,
            workspace: Workspace::new(prefix)?,
        };
        plane.write_files()?;
        if is_enclosed {
            plane.door = Some(plane.proxy()?);
        }
        let admin = Identity::Certificate(plane.authority.issue("admin", Some(MASTERS), &[])?);
        kubeconfig::write(plane.workspace.path(), "admin", &plane.server(), &admin)?;
        plane.start_etcd()?;
        plane.start_api_server()?;
        Ok(plane)
    }

    /// Where it answers: `https://HOST:PORT`.
    pub fn server(&self) -> String {
        let direct = || format!("https://127.0.0.1:{}", self.ports.api_server);
        self.door.as_ref().map_or_else(direct, Proxy::server)
    }

    /// Another way to it, which a test can make bad.
    pub fn proxy(&self) -> Result<Proxy> {
        let (enclosure, address) = (Arc::clone(&self.enclosure), self.address());
        if !self.is_enclosed {
            return Proxy::start(move || TcpStream::connect(address));
        }
        // A connection in the making must not keep the enclosure alive.
        let enclosure = Arc::downgrade(&enclosure);
        Proxy::start(move || {
            let enclosure = enclosure.upgrade().ok_or_else(|| io::Error::other("its enclosure has ended"))?;
            // A socket is of the network in which it was made.
            enclosure.run(|| Ok(TcpStream::connect(address)?)).map_err(io::Error::other)
        })
    }

    /// The kubeconfig of somebody who may do everything.
    pub fn admin(&self) -> PathBuf {
        self.workspace.path().join("admin.kubeconfig")
    }

    /// kubectl as somebody who may do everything.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::new(&self.programs, &self.admin())
    }

    /// kubectl with another kubeconfig.
    pub fn kubectl_with(&self, kubeconfig: &Path) -> Result<Kubectl> {
        Kubectl::new(&self.programs, kubeconfig)
    }

    /// A kubeconfig for a service account, with a token as pods get it, by way of `server` (of a proxy, say).
    pub fn kubeconfig_of_service_account(
        &self,
        namespace: &str,
        name: &str,
        server: &str,
    ) -> Result<PathBuf> {
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let answer =
            self.kubectl()?.run_with(&["create", "--raw", &path, "-f", "-"], &request.to_string())?;
        let answer: Value = serde_json::from_str(&answer).context("no TokenRequest")?;
        let token = answer.pointer("/status/token").and_then(Value::as_str).context("no token")?;
        let identity = Identity::Token(token.to_owned());
        let file = format!("{namespace}-{name}-{}", port_of(server));
        kubeconfig::write(self.workspace.path(), &file, server, &identity)
    }

    /// A kubeconfig for whoever has this token, by way of [`ControlPlane::server`].
    pub fn kubeconfig_of_token(&self, name: &str, token: &str) -> Result<PathBuf> {
        let identity = Identity::Token(token.to_owned());
        kubeconfig::write(self.workspace.path(), name, &self.server(), &identity)
    }

    /// A kubeconfig for any user, with a certificate, by way of `server`: costs no request.
    pub fn kubeconfig_of(&self, user: &str, group: Option<&str>, server: &str) -> Result<PathBuf> {
        let identity = Identity::Certificate(self.authority.issue(user, group, &[])?);
        let file = format!("{}-{}", user.replace([':', '/'], "-"), port_of(server));
        kubeconfig::write(self.workspace.path(), &file, server, &identity)
    }

    /// A certificate that this cluster trusts.
    pub fn certificate(&self, user: &str, group: &str, addresses: &[&str]) -> Result<Credentials> {
        self.authority.issue(user, Some(group), addresses)
    }

    /// Every request that has been answered so far; the last one a moment after its answer.
    pub fn audit(&self) -> Result<Vec<Record>> {
        if !self.options.audit {
            bail!("this control plane was started without an audit");
        }
        audit::read(&self.path("audit.log"))
    }

    /// Stops the API server in its tracks: it answers nobody, connections stay open.
    pub fn pause(&mut self) -> Result<()> {
        self.running()?.pause()
    }

    /// Lets it go on.
    pub fn resume(&mut self) -> Result<()> {
        self.running()?.resume()
    }

    /// Kills the API server. etcd keeps what it has said.
    pub fn stop_api_server(&mut self) {
        self.api_server = None;
    }

    /// Starts it, and waits until it is ready.
    pub fn start_api_server(&mut self) -> Result<()> {
        self.stop_api_server();
        let mut command = self.api_server_command()?;
        self.api_server = Some(self.daemon("kube-apiserver", &mut command)?);
        let (kubectl, address) = (self.kubectl()?, self.address());
        let (enclosure, is_enclosed) = (Arc::clone(&self.enclosure), self.is_enclosed);
        wait::until_true("the API server is ready", READY_WITHIN, || {
            self.running()?.check_alive()?;
            // Cheap, and most of the time it does not listen yet.
            let listens = || Ok(TcpStream::connect(address).is_ok());
            let listens = if is_enclosed { enclosure.run(listens)? } else { listens()? };
            Ok(listens && kubectl.run(&["get", "--raw", "/readyz"]).is_ok())
        })
    }

    /// The folder of all its files.
    pub fn folder(&self) -> &Path {
        self.workspace.path()
    }

    /// The programs that it is made of.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Starts another program beside it; its log goes beside its own.
    pub fn daemon(&self, name: &str, command: &mut Command) -> Result<Daemon> {
        Daemon::start(&self.enclosure, name, command, self.workspace.path())
    }

    /// A file of it: `ca.crt`, `tokens.key`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.workspace.path().join(name)
    }

    fn running(&mut self) -> Result<&mut Daemon> {
        self.api_server.as_mut().context("the API server was stopped")
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.api_server).into()
    }

    fn write_files(&self) -> Result<()> {
        let folder = self.workspace.path();
        kubeconfig::write_secret(&self.path("ca.crt"), self.authority.certificate())?;
        let service = SERVICE.to_string();
        let names = ["127.0.0.1", &service, "localhost", "kubernetes", "kubernetes.default.svc"];
        let serving = self.authority.issue("kube-apiserver", None, &names)?;
        kubeconfig::write_credentials(folder, "apiserver", &serving)?;
        let to_kubelets = self.authority.issue("kube-apiserver-kubelet-client", Some(MASTERS), &[])?;
        kubeconfig::write_credentials(folder, "kubelet-client", &to_kubelets)?;
        let (private, public) = token_keys()?;
        kubeconfig::write_secret(&self.path("tokens.key"), &private)?;
        kubeconfig::write_secret(&self.path("tokens.pub"), &public)?;
        let policy = self.path("audit.json");
        fs::write(&policy, audit::policy().to_string())
            .with_context(|| format!("cannot write {}", policy.display()))
    }

    fn start_etcd(&mut self) -> Result<()> {
        let data = self.workspace.folder("etcd")?;
        let [client, peer] =
            [self.ports.etcd, self.ports.etcd_peer].map(|port| format!("http://127.0.0.1:{port}"));
        let mut etcd = self.programs.command("etcd")?;
        etcd.arg("--data-dir").arg(data);
        etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        // What it holds is gone with the test: no disk needs to be waited for.
        etcd.args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"]);
        self.etcd = Some(self.daemon("etcd", &mut etcd)?);
        Ok(())
    }

    fn api_server_command(&self) -> Result<Command> {
        let path = |name| self.path(name).display().to_string();
        let mut flags = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            format!("--secure-port={}", self.ports.api_server),
            format!("--service-cluster-ip-range={SERVICES}"),
            format!("--tls-cert-file={}", path("apiserver.crt")),
            format!("--tls-private-key-file={}", path("apiserver.key")),
            format!("--client-ca-file={}", path("ca.crt")),
            format!("--kubelet-client-certificate={}", path("kubelet-client.crt")),
            format!("--kubelet-client-key={}", path("kubelet-client.key")),
            format!("--service-account-signing-key-file={}", path("tokens.key")),
            format!("--service-account-key-file={}", path("tokens.pub")),
            format!("--cert-dir={}", path("apiserver")),
        ];
        flags.extend(
            [
                "--service-account-issuer=https://kubernetes.default.svc",
                "--api-audiences=https://kubernetes.default.svc",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                "--allow-privileged=true",
                "--kubelet-preferred-address-types=InternalIP",
            ]
            .map(str::to_owned),
        );
        flags.extend(self.flags_of_place().map(str::to_owned));
        if self.options.audit {
            flags.push(format!("--audit-policy-file={}", path("audit.json")));
            flags.push(format!("--audit-log-path={}", path("audit.log")));
            // MB: it would begin another file at 100.
            flags.push("--audit-log-maxsize=2000".to_owned());
        }
        let mut command = self.programs.command("kube-apiserver")?;
        command.args(flags);
        Ok(command)
    }

    /// With a node there are controllers that make the service accounts which pods are admitted with; and pods and
    /// other machines that come from other addresses.
    fn flags_of_place(&self) -> [&'static str; 3] {
        if self.is_enclosed {
            [
                "--bind-address=0.0.0.0",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
            ]
        } else {
            [
                "--bind-address=127.0.0.1",
                "--authorization-mode=RBAC",
                "--disable-admission-plugins=ServiceAccount",
            ]
        }
    }
}

fn port_of(server: &str) -> &str {
    let port = server.rsplit_once(':').map(|(_, port)| port);
    // `https://HOST` has none.
    port.filter(|port| !port.contains('/')).unwrap_or("443")
}

/// Three ports that nobody listens on now.
fn free_ports() -> Result<Ports> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback");
    // All at once: else the kernel may give one of them twice.
    let listeners = [listen()?, listen()?, listen()?];
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    let [api_server, etcd, etcd_peer] = &listeners;
    Ok(Ports { api_server: port(api_server)?, etcd: port(etcd)?, etcd_peer: port(etcd_peer)? })
}
