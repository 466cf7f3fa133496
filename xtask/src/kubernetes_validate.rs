//! kubernetes-validate, which has the schemas of servers that nobody has here: current ones, for deploy/.
//!
//! In: PyPI. Out: the program in a Python environment of its own, in the cache. Must never put anything into the
//! machine's Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::command::{cache, output, program, run, step};
use crate::lock::alone_in;

/// tests/tests/cluster_deploy.rs names the servers that it is asked about.
const RELEASE: &str = "kubernetes-validate==1.37.0";
/// Which release the environment has: written last.
const DONE: &str = "release";

/// The Debian package without which Python makes no environments, where it is missing.
pub(crate) fn missing_package() -> Option<&'static str> {
    let makes_environments =
        output(program("python3").args(["-c", "import ensurepip, venv"]).stderr(Stdio::null()));
    makes_environments.is_none().then_some("python3-venv")
}

/// Installs it, where this release is not there yet.
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
    step(&format!("pip install {RELEASE} (once, into the cache)"));
    let environment = folder.join("environment");
    run(program("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", RELEASE];
    run(Command::new(environment.join("bin/python3")).args(pip))?;
    fs::write(folder.join(DONE), RELEASE).with_context(|| format!("cannot write to {}", folder.display()))
}

/// tests/tests/cluster_deploy.rs has the same.
fn folder() -> PathBuf {
    cache().join("kubernetes-validate")
}

fn is_done(folder: &Path) -> bool {
    fs::read_to_string(folder.join(DONE)).is_ok_and(|release| release == RELEASE)
}
