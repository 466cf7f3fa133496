//! The root disk of a guest: the host's programs, the kernel's modules, the guest's init. In: a kernel and the host.
//! Out: an ext4 image in the cache, made again only when something that it is made of has changed.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::disk;
use super::kernel::Kernel;
use super::programs::Programs;
use crate::command::{output, program, run, step};

/// Runs as PID 1.
const INIT: &str = include_str!("guest-init.sh");
/// Where it stands in the guest.
pub(crate) const INIT_PATH: &str = "/usr/sbin/guest-init";
/// Debian's merged /usr.
const LINKS: [(&str, &str); 4] =
    [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")];
/// Mount points, and folders that a program expects.
const FOLDERS: [&str; 15] = [
    "usr/bin",
    "usr/sbin",
    "usr/lib/modules",
    "usr/lib64",
    "proc",
    "sys",
    "dev",
    "run",
    "tmp",
    "etc",
    "root",
    "var/tmp",
    "var/lib",
    "results",
    "payload",
];
const FILES: [(&str, &str); 5] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/os-release", "ID=debian\nPRETTY_NAME=\"podsweep's test guest\"\n"),
    ("etc/fstab", ""),
];
/// /var/tmp is on it: containers' layers, and the loop-mounted images of the tests. Sparse.
const BYTES: u64 = 4 << 30;

/// The image for this kernel.
pub(crate) fn of(kernel: &Kernel) -> Result<PathBuf> {
    let programs = Programs::find()?;
    let image = kernel.folder().join(format!("root-{:016x}.ext4", fingerprint(&programs)?));
    if !image.is_file() {
        step(&format!("root image for {} (in the cache)", kernel.release));
        remove_older(kernel.folder())?;
        make(kernel, &programs, &image)?;
    }
    Ok(image)
}

fn fingerprint(programs: &Programs) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    (INIT, LINKS, FOLDERS, FILES, BYTES).hash(&mut hasher);
    programs.hash(&mut hasher)?;
    Ok(hasher.finish())
}

/// One image a kernel: the cache does not grow with every upgrade of the host.
fn remove_older(folder: &Path) -> Result<()> {
    for file in fs::read_dir(folder)?.flatten() {
        if file.file_name().to_string_lossy().starts_with("root-") {
            fs::remove_file(file.path())
                .with_context(|| format!("cannot remove {}", file.path().display()))?;
        }
    }
    Ok(())
}

fn make(kernel: &Kernel, programs: &Programs, image: &Path) -> Result<()> {
    let tree = kernel.folder().join("root");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    fill(&tree, kernel, programs).with_context(|| format!("cannot fill {}", tree.display()))?;
    let unfinished = kernel.folder().join("unfinished.ext4");
    disk::ext4(&unfinished, &tree, BYTES)?;
    fs::rename(&unfinished, image).with_context(|| format!("cannot make {}", image.display()))?;
    fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))
}

fn fill(tree: &Path, kernel: &Kernel, programs: &Programs) -> Result<()> {
    for folder in FOLDERS {
        fs::create_dir_all(tree.join(folder))?;
    }
    fs::set_permissions(tree.join("var/tmp"), fs::Permissions::from_mode(0o1777))?;
    for (link, target) in LINKS {
        symlink(target, tree.join(link))?;
    }
    for (file, text) in FILES {
        fs::write(tree.join(file), text)?;
    }
    for file in programs.files() {
        copy(file, tree)?;
    }
    symlink("dash", tree.join("usr/bin/sh"))?;
    add_applets(tree)?;
    let init = tree.join(INIT_PATH.trim_start_matches('/'));
    fs::write(&init, INIT)?;
    fs::set_permissions(init, fs::Permissions::from_mode(0o755))?;
    run(program("cp").arg("-a").arg(kernel.modules()).arg(tree.join("usr/lib/modules")))
}

/// To the same path below `tree`; what a symbolic link leads to, under the link's name.
fn copy(file: &Path, tree: &Path) -> Result<()> {
    let target = tree.join(file.strip_prefix("/").unwrap_or(file));
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(file, &target).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(())
}

/// Every program that busybox has and the host's did not bring.
fn add_applets(tree: &Path) -> Result<()> {
    let Some(applets) = output(program("busybox").arg("--list")) else {
        bail!("busybox does not list its programs");
    };
    for applet in applets.lines() {
        let taken = ["usr/bin", "usr/sbin"].map(|folder| tree.join(folder).join(applet).exists());
        if taken == [false, false] {
            symlink("busybox", tree.join("usr/bin").join(applet))?;
        }
    }
    Ok(())
}
