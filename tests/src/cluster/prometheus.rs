//! A real Prometheus, and one number of a test's that it scrapes every second. In: a control plane, beside which it runs.
//! Out: its address; the metric `works`, which is what the test says. Dropped, it is killed.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::control_plane::ControlPlane;
use super::daemon::Daemon;

/// Where xtask keeps what is made once; the same variable and default as in xtask/src/command.rs.
const CACHE: &str = "PODSWEEP_CACHE";
/// As in xtask/src/prometheus.rs.
const PROGRAM: &str = "prometheus/unpacked/usr/bin/prometheus";
/// A scraper that says nothing for so long says nothing.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

/// An address on which nobody listens yet.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    gauge: Gauge,
    running: Option<Daemon>,
}

impl Prometheus {
    /// An address of its own, where nobody answers before [`Self::start`].
    pub fn new() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
        Ok(Self { port: listener.local_addr()?.port(), gauge: Gauge::serve()?, running: None })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What `works` is from now on.
    pub fn set(&self, value: i64) {
        self.gauge.value.store(value, Ordering::Relaxed);
    }

    /// Starts it.
    pub fn start(&mut self, plane: &ControlPlane) -> Result<()> {
        let config = plane.path("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: test\n  static_configs:\n  - targets: ['{}']\n",
            self.gauge.address
        );
        std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let mut command = Command::new(program()?);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", plane.path("prometheus").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.port));
        self.running = Some(plane.daemon("prometheus", &mut command)?);
        Ok(())
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.running = None;
    }
}

fn program() -> Result<PathBuf> {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let cache = std::env::var_os(CACHE).map_or_else(|| home().join(".cache/podsweep"), PathBuf::from);
    let program = cache.join(PROGRAM);
    if !program.exists() {
        bail!("no {}: run `cargo xtask setup --level cluster`", program.display());
    }
    Ok(program)
}

/// An endpoint with one metric.
#[derive(Debug)]
struct Gauge {
    address: SocketAddr,
    value: Arc<AtomicI64>,
    ended: Arc<AtomicBool>,
}

impl Gauge {
    fn serve() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
        let address = listener.local_addr()?;
        let (value, ended) = (Arc::new(AtomicI64::new(1)), Arc::new(AtomicBool::new(false)));
        let (shown, end) = (Arc::clone(&value), Arc::clone(&ended));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                // A scraper that hangs up is no concern of the test.
                let _ = answer(stream, shown.load(Ordering::Relaxed));
            }
        });
        Ok(Self { address, value, ended })
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // so that it looks
    }
}

fn answer(mut stream: TcpStream, value: i64) -> std::io::Result<()> {
    stream.set_read_timeout(Some(ASKED_WITHIN))?;
    // A scrape fits into one packet, and whatever it asks for the answer is the same.
    let _ = stream.read(&mut [0; 4096])?;
    let body = format!("# TYPE works gauge\nworks {value}\n");
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}
