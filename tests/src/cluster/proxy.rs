//! A way to an API server that can be made bad. In: how to reach the server. Out: an address on loopback; connections
//! through it are carried, slowed down, stalled (a network that swallows everything) or cut (every connection is closed,
//! new ones too). Must never look into what it carries.

use std::io;
use std::net::{SocketAddr, TcpListener as BoundListener, TcpStream as ConnectedStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::sleep;

/// Of one direction of one connection.
const CHUNK_BYTES: usize = 16 << 10;

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// It arrives.
    Open,
    /// Each piece arrives so much later.
    Slow(Duration),
    /// It waits.
    Stalled,
    /// Connections are closed.
    Cut,
}

/// How the server is reached.
type Reach = dyn Fn() -> io::Result<ConnectedStream> + Send + Sync;

/// The way. It ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    flow: watch::Sender<Flow>,
    // Never blocks when it is dropped, even in another runtime: see `drop`.
    runtime: Option<Runtime>,
}

impl Proxy {
    /// Opens a way to whatever `reach` connects to.
    pub fn start(reach: impl Fn() -> io::Result<ConnectedStream> + Send + Sync + 'static) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.context("cannot start the proxy")?;
        let listener = BoundListener::bind(("127.0.0.1", 0)).context("the proxy cannot listen")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (flow, watched) = watch::channel(Flow::Open);
        let guard = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        drop(guard);
        runtime.spawn(accept(listener, Arc::new(reach), watched));
        Ok(Self { address, flow, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as `https://HOST:PORT`.
    pub fn server(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Everything arrives, from now on and what was stalled.
    pub fn restore(&self) {
        self.flow.send_replace(Flow::Open);
    }

    /// Each piece that is sent arrives so much later.
    pub fn slow_down(&self, by: Duration) {
        self.flow.send_replace(Flow::Slow(by));
    }

    /// Nothing arrives, and nobody is told: connections stay open.
    pub fn stall(&self) {
        self.flow.send_replace(Flow::Stalled);
    }

    /// Closes every connection; new ones are closed at once.
    pub fn cut(&self) {
        self.flow.send_replace(Flow::Cut);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, reach: Arc<Reach>, flow: watch::Receiver<Flow>) {
    // An error is of one connection, gone before it was taken.
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if *flow.borrow() != Flow::Cut {
            tokio::spawn(connect(client, Arc::clone(&reach), flow.clone()));
        }
    }
}

/// Where the server cannot be reached, the client sees its connection closed.
async fn connect(client: TcpStream, reach: Arc<Reach>, flow: watch::Receiver<Flow>) {
    let Ok(Ok(server)) = tokio::task::spawn_blocking(move || reach()).await else { return };
    if server.set_nonblocking(true).is_err() {
        return;
    }
    let Ok(server) = TcpStream::from_std(server) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::spawn(carry(from_client, to_server, flow.clone()));
    carry(from_server, to_client, flow).await;
}

/// One direction, until its sender or the way is cut. An error is the end of a connection, which both ends see.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut flow: watch::Receiver<Flow>) {
    let mut cut = flow.clone();
    let all = async {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(bytes @ 1..) = from.read(&mut chunk).await {
            wait_for_way(&mut flow).await;
            if to.write_all(&chunk[..bytes]).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::select! {
        () = all => {}
        _ = cut.wait_for(|flow| *flow == Flow::Cut) => {}
    }
}

async fn wait_for_way(flow: &mut watch::Receiver<Flow>) {
    let now = flow.wait_for(|flow| *flow != Flow::Stalled).await.map(|flow| *flow);
    if let Ok(Flow::Slow(by)) = now {
        sleep(by).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::time::Instant;

    use super::*;

    /// A server that sends back what it gets, on every connection.
    fn echo() -> SocketAddr {
        let listener = BoundListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut &stream));
            }
        });
        address
    }

    fn proxy() -> Proxy {
        let server = echo();
        Proxy::start(move || ConnectedStream::connect(server)).unwrap()
    }

    fn client(proxy: &Proxy, patience: Duration) -> ConnectedStream {
        let stream = ConnectedStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        stream
    }

    fn ask(stream: &mut ConnectedStream) -> io::Result<()> {
        stream.write_all(b"ping")?;
        stream.read_exact(&mut [0; 4])
    }

    #[test]
    fn what_is_sent_arrives_and_a_cut_ends_every_connection() {
        let proxy = proxy();
        let mut stream = client(&proxy, Duration::from_secs(20));
        ask(&mut stream).unwrap();
        proxy.cut();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "still open");
        assert!(ask(&mut client(&proxy, Duration::from_secs(20))).is_err(), "a new one while cut");
        proxy.restore();
        ask(&mut client(&proxy, Duration::from_secs(20))).unwrap();
    }

    #[test]
    fn what_is_stalled_arrives_when_the_way_is_restored() {
        let proxy = proxy();
        let mut stream = client(&proxy, Duration::from_millis(200));
        ask(&mut stream).unwrap();
        proxy.stall();
        let waited = ask(&mut stream).unwrap_err().kind();
        assert!(matches!(waited, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{waited:?}");
        proxy.restore();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
    }

    #[test]
    fn each_direction_of_a_slow_way_is_slow() {
        let proxy = proxy();
        let mut stream = client(&proxy, Duration::from_secs(20));
        proxy.slow_down(Duration::from_millis(150));
        let started = Instant::now();
        ask(&mut stream).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    }
}
