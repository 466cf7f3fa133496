//! SIGINT and SIGTERM while a scan or sweep of this process runs: the first asks it to end after its batch, the
//! second ends the process as usual.

use std::io::Write;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancelled by the first signal.
pub(super) fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = interrupt.recv() => 130, _ = terminate.recv() => 143 };
        next().await;
        first.cancel();
        // A terminal that is gone must not keep the sweep from ending.
        let _ = writeln!(std::io::stderr(), "podsweep: stopping after this batch; once more to stop at once");
        // 128 plus the signal's number, as shells report it.
        let code = next().await;
        std::process::exit(code);
    });
    Ok(stop)
}

/// For a daemon: SIGTERM (or SIGINT) asks it to end; it has its own limits on how long that takes.
pub(super) async fn cancel_on_signal(stop: CancellationToken) -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
    stop.cancel();
    Ok(())
}
