//! The image of the test containers: busybox, the workload, and the shared libraries that the workload asks for.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workload::{IMAGE_FILES, image_file};

const BUSYBOX: &str = "/bin/busybox";
const DIRECTORIES: [&str; 9] =
    ["bin", "proc", "sys", "dev", "etc", "tmp", "app/cache", "app/data", "srv/keep"];
/// Where the container sees the workload.
pub const WORKLOAD: &str = "/app/workload";

/// Fills `layer`, an empty folder.
pub fn build(layer: &Path) -> Result<()> {
    for directory in DIRECTORIES {
        fs::create_dir_all(layer.join(directory))?;
    }
    fs::set_permissions(layer.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    copy(Path::new(BUSYBOX), &layer.join("bin/busybox")).context("apt-get install busybox-static")?;
    symlink("busybox", layer.join("bin/sh"))?;
    let workload = program("workload")?;
    copy(&workload, &inside(layer, WORKLOAD))?;
    for library in libraries(&workload)? {
        copy(&library, &inside(layer, &library.to_string_lossy()))?;
    }
    for number in 0..IMAGE_FILES {
        fs::write(inside(layer, &image_file(number)), "from the image\n")?;
    }
    Ok(())
}

/// A program of this workspace, built beside the one that runs now.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // Tests run from the folder `deps` beside the programs.
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("no program {name} near {}: run `cargo xtask build` first", own.display()))
}

/// The shared libraries that a program is loaded with, the loader itself included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    if !output.status.success() {
        bail!("ldd {}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

fn inside(layer: &Path, path: &str) -> PathBuf {
    layer.join(path.trim_start_matches('/'))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
