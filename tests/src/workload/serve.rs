//! The container's first process: beats, starts storms when it is told to, ends when nobody listens any more.

use std::io;
use std::process::{Command, exit};
use std::thread;

use super::heartbeat;
use super::said::Said;

/// Runs until standard input ends: a container never outlives the test that made it. Each line read is a
/// [`Plan`](super::Plan) in JSON, and starts a storm in a process of its own.
pub fn serve() -> io::Result<()> {
    thread::spawn(|| {
        // The host is gone: so is the only reader of anything that could be said about how this ended.
        let _ = take_orders();
        exit(0);
    });
    Said::Ready.tell()?;
    heartbeat::beat()
}

fn take_orders() -> io::Result<()> {
    for plan in io::stdin().lines() {
        Command::new("/proc/self/exe").args(["storm", &plan?]).spawn()?;
    }
    Ok(())
}
