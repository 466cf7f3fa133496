//! A collector of CloudEvents: a real HTTP server on loopback, as slow or dead as a test wants it. In: connections. Out:
//! what was posted. Must never: outlive the test by more than its open connections.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::wait;

/// Longest wait for a request that has begun.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// What it does with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Takes it.
    Takes,
    /// Reads it and never answers.
    Hangs,
}

/// A collector.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Value>>>,
    ended: Arc<AtomicBool>,
}

impl Collector {
    /// Listens on a port of its own.
    pub fn start(manner: Manner) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
        let address = listener.local_addr()?;
        let (received, ended) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::new(AtomicBool::new(false)));
        let (into, end) = (Arc::clone(&received), Arc::clone(&ended));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let into = Arc::clone(&into);
                // Each by itself: one that hangs must not keep the next from being heard.
                thread::spawn(move || serve(stream, manner, &into));
            }
        });
        Ok(Self { address, received, ended })
    }

    /// Where to post.
    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// Events so far.
    pub fn received(&self) -> Vec<Value> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first event of this type and subject.
    pub fn event(&self, kind: &str, subject: &str, limit: Duration) -> Result<Value> {
        let wanted = |event: &&Value| event["type"] == kind && event["subject"] == subject;
        wait::until("the collector has the event", limit, || Ok(self.received().iter().find(wanted).cloned()))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // so that it looks
    }
}

/// Requests of one connection, until its other end is gone.
fn serve(stream: TcpStream, manner: Manner, received: &Mutex<Vec<Value>>) {
    let mut stream = BufReader::new(stream);
    while let Ok(event) = request(&mut stream) {
        received.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        if manner == Manner::Hangs {
            // Until the agent gives up.
            let _ = stream.get_mut().set_read_timeout(None);
            let _ = stream.read(&mut [0]);
            return;
        }
        let answered = stream.get_mut().write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
        if answered.is_err() {
            return;
        }
    }
}

fn request(stream: &mut BufReader<TcpStream>) -> Result<Value> {
    stream.get_mut().set_read_timeout(Some(REQUEST_WITHIN))?;
    let (mut length, mut structured, mut line) = (0, false, String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            bail!("the connection has ended");
        }
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        structured |= header == "content-type: application/cloudevents+json; charset=utf-8";
    }
    if !structured {
        bail!("not a CloudEvent in structured mode");
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}
