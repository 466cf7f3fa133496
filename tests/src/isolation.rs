//! A mount namespace for the calling thread, so that the machine's own mount table stays as it is.

use std::cell::Cell;

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

thread_local! {
    static ISOLATED: Cell<bool> = const { Cell::new(false) };
}

/// Moves the calling thread, and every process that it starts from here on, into a mount namespace of its own. It
/// goes with the last of them, with every mount made in it. Needs root.
pub fn private_mounts() -> Result<()> {
    if ISOLATED.get() {
        return Ok(());
    }
    if !geteuid().is_root() {
        bail!("needs root: makes mounts, cgroups and containers, and loads eBPF programs");
    }
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("cannot make / private")?;
    ISOLATED.set(true);
    Ok(())
}
