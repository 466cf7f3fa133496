//! Waiting for a ring buffer on a tokio runtime. A file of its own for its one `unsafe` call: tokio 1.54 asks
//! whoever registers a descriptor to promise that it stays open.
#![allow(unsafe_code, reason = "AsyncFd::register_with_interest; the safe constructors are deprecated")]

use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers the ring buffer with the current runtime, which must have I/O enabled.
pub(super) fn register(ring: RingBuf<MapData>) -> std::io::Result<AsyncFd<RingBuf<MapData>>> {
    // SAFETY: the ring buffer owns its map's descriptor, never changes it and closes it when dropped, which AsyncFd
    // does after it has deregistered.
    unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(std::io::Error::from)
}
