//! A real Prometheus for the tests of guards: Debian's, unpacked.
//!
//! In: Debian's mirrors. Out: the program, in the cache. Must never install it: the package starts a daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::apt;
use crate::command::{cache, output, step};
use crate::lock::alone_in;

/// Any version will do: an instant query has been the same since 2.0.
const PACKAGE: &str = "prometheus";
/// The program within the package. tests/src/cluster/prometheus.rs has the same.
const PROGRAM: &str = "unpacked/usr/bin/prometheus";

/// Unpacks it, where it is not there yet.
pub(crate) fn install() -> Result<()> {
    let folder = folder();
    if is_done(&folder) {
        return Ok(());
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let _alone = alone_in(&folder)?;
    if is_done(&folder) {
        return Ok(()); // by whoever was waited for
    }
    step("prometheus: none in the cache: Debian's is unpacked (once)");
    let architecture = output(Command::new("dpkg").arg("--print-architecture"));
    let architecture = architecture.context("dpkg does not say this machine's architecture")?;
    let half = folder.join("half");
    apt::unpack(PACKAGE, architecture.trim(), &half)?;
    let whole = folder.join("unpacked");
    fs::rename(&half, &whole).with_context(|| format!("cannot make {}", whole.display()))
}

/// tests/src/cluster/prometheus.rs has the same.
fn folder() -> PathBuf {
    cache().join("prometheus")
}

fn is_done(folder: &Path) -> bool {
    folder.join(PROGRAM).exists()
}
