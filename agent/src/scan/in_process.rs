//! A scan without a process of its own, for tests of what is found: the worker's walk, and its messages through the
//! format of its pipe; no limits, no confinement.

use std::time::Instant;

use super::findings::Findings;
use super::judge::Judge;
use super::stream::Stream;
use super::walk::Walk;
use super::wire::Messages;
use super::{ScanMessage, ScanRequest, worker};

/// All that a worker would say to this request.
pub(crate) async fn scan(request: &ScanRequest) -> Vec<ScanMessage> {
    let judge = Judge::compile(&request.junk, &request.never, request.now).unwrap();
    let roots = request.roots.iter().map(worker::open).collect::<Result<_, _>>().unwrap();
    let mut frames = Vec::new();
    let findings = Findings::new(&request.settings, Stream::new(&mut frames, Instant::now), || false);
    Walk::new(request, &judge, findings).run(roots).unwrap();
    let mut sent = Messages::new(&frames[..]);
    let mut messages = Vec::new();
    while let Some(message) = sent.next().await.unwrap() {
        messages.push(message);
    }
    messages
}
