//! The image of the test containers: busybox, the workload, the holder, and the shared libraries that they ask for.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::holding::HOLDER;
use crate::workload::{IMAGE_FILES, image_file};

const BUSYBOX: &str = "/bin/busybox";
const DIRECTORIES: [&str; 9] =
    ["bin", "proc", "sys", "dev", "etc", "tmp", "app/cache", "app/data", "srv/keep"];
/// Where the container sees the workload.
pub const WORKLOAD: &str = "/app/workload";

/// Where the image has files and directories for a container to remove, replace and write to.
pub const IMAGE_TREE: &str = "/opt/image";
/// They, below [`IMAGE_TREE`].
const TREE_FILES: [&str; 11] = [
    "removed.tmp",
    "appended.tmp",
    "chmodded.tmp",
    "renamed.tmp",
    "linked.tmp",
    "over.tmp",
    "overwritten.tmp",
    "untouched.tmp",
    "replaced/a.tmp",
    "hollow/a.tmp",
    "hidden/a.tmp",
];

/// Fills `layer`, an empty folder.
pub fn build(layer: &Path) -> Result<()> {
    for directory in DIRECTORIES {
        fs::create_dir_all(layer.join(directory))?;
    }
    fs::set_permissions(layer.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    copy(Path::new(BUSYBOX), &layer.join("bin/busybox")).context("apt-get install busybox-static")?;
    symlink("busybox", layer.join("bin/sh"))?;
    for (name, path) in [("workload", WORKLOAD), ("holder", HOLDER)] {
        let program = program(name)?;
        copy(&program, &inside(layer, path))?;
        for library in libraries(&program)? {
            copy(&library, &inside(layer, &library.to_string_lossy()))?;
        }
    }
    for number in 0..IMAGE_FILES {
        fs::write(inside(layer, &image_file(number)), "from the image\n")?;
    }
    for name in TREE_FILES {
        let file = inside(layer, IMAGE_TREE).join(name);
        fs::create_dir_all(file.parent().context("a file of the image has a directory")?)?;
        fs::write(file, "from the image\n")?;
    }
    Ok(())
}

/// Fills `layer`, an empty folder, with podsweep alone: in PATH, with its shared libraries, and without what only a
/// debugger reads.
pub fn build_podsweep(layer: &Path) -> Result<()> {
    let podsweep = program("podsweep")?;
    let there = layer.join("bin/podsweep");
    fs::create_dir_all(layer.join("bin"))?;
    let stripped = Command::new("strip").arg("-o").arg(&there).arg(&podsweep).status();
    let stripped = stripped.context("cannot start strip: apt-get install binutils")?;
    if !stripped.success() {
        bail!("strip {}: {stripped}", podsweep.display());
    }
    for library in libraries(&podsweep)? {
        copy(&library, &inside(layer, &library.to_string_lossy()))?;
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
