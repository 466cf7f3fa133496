//! What compiles the kernel side: a rustc with a core library for `bpfel-unknown-none`, and bpf-linker.
//!
//! Two ways, as agent/build.rs tries them: Debian's rustc-web with its prebuilt core, or rustup's nightly with
//! rust-src. The linker reads what the compiler wrote, so it is built against the same major version of LLVM.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{cache, cargo, output, quick_to_build, run, step, which};

/// What the kernel side is compiled for.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// The crates that may use unstable features on a stable compiler; the same as in agent/build.rs.
pub(crate) const UNSTABLE_CRATES: &str = "aya_ebpf,aya_ebpf_bindings,agent_ebpf";
/// agent/build.rs looks for this version in the cache folder.
const LINKER_VERSION: &str = "0.13.0";
/// Major versions of LLVM that this version of the linker can be built against.
const LINKER_LLVM: [&str; 3] = ["21", "22", "23"];
/// Debian's rustc, and its core library for the target.
const PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// A ready object: nothing is compiled.
const OBJECT: &str = "PODSWEEP_EBPF_OBJECT";
/// A rustc with a prebuilt core for the target.
const RUSTC: &str = "PODSWEEP_EBPF_RUSTC";
/// A ready bpf-linker.
const LINKER: &str = "BPF_LINKER";

/// What somebody named must be there: the build uses nothing else in its place, nor does the set-up.
pub(crate) fn check_named() -> Result<()> {
    for variable in [OBJECT, LINKER] {
        let named = std::env::var_os(variable).map(PathBuf::from);
        if let Some(path) = named.filter(|path| !path.is_file()) {
            bail!("{variable}={}: no such file; name one that is there, or unset {variable}", path.display());
        }
    }
    match std::env::var_os(RUSTC).map(PathBuf::from) {
        Some(rustc) if !has_core(&rustc) => bail!(
            "{RUSTC}={}: no rustc with a core library for {TARGET}; name one that has it, or unset {RUSTC}",
            rustc.display()
        ),
        _ => Ok(()),
    }
}

/// Debian packages still needed. None where an object, a compiler or a nightly is there.
pub(crate) fn missing_packages() -> Vec<&'static str> {
    if has_ready_object() || compiler().is_some() { Vec::new() } else { PACKAGES.to_vec() }
}

/// Builds bpf-linker into the cache folder where there is none.
pub(crate) fn install_linker() -> Result<()> {
    if has_ready_object() || has_linker() {
        return Ok(());
    }
    let compiler =
        compiler().context("no compiler for the kernel side, though its packages are installed")?;
    let (major, library) = llvm(&compiler)?;
    let prefix = llvm_prefix(&library)?;
    step(&format!("cargo install bpf-linker {LINKER_VERSION} (once, under a minute)"));
    let mut install = cargo();
    install
        .args(["install", "bpf-linker", "--quiet", "--locked", "--version", LINKER_VERSION])
        // One is there that does not start any more, or `has_linker` would have found it.
        .arg("--force")
        .args(["--no-default-features", "--features", &format!("llvm-{major}"), "--root"])
        .arg(linker_folder())
        .env("LLVM_PREFIX", prefix);
    run(quick_to_build(&mut install))
}

fn has_ready_object() -> bool {
    std::env::var_os(OBJECT).is_some()
}

fn has_linker() -> bool {
    std::env::var_os(LINKER).is_some() || which("bpf-linker").is_some() || cached_linker_starts()
}

/// It does not where an upgrade has taken its libLLVM away.
fn cached_linker_starts() -> bool {
    output(Command::new(linker_folder().join("bin/bpf-linker")).arg("--version")).is_some()
}

fn linker_folder() -> PathBuf {
    cache().join(format!("bpf-linker-{LINKER_VERSION}"))
}

/// The first rustc that can compile for the target.
fn compiler() -> Option<PathBuf> {
    prebuilt().or_else(nightly)
}

/// The rustc that comes with a core library for the target: the one that is named, else Debian's.
pub(crate) fn prebuilt() -> Option<PathBuf> {
    let rustc = std::env::var_os(RUSTC).map_or_else(|| "/usr/bin/rustc".into(), PathBuf::from);
    has_core(&rustc).then_some(rustc)
}

fn has_core(rustc: &Path) -> bool {
    output(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]))
        .is_some_and(|folder| holds(Path::new(&folder), "libcore-"))
}

/// Whether a file in `folder` has a name that begins like this.
pub(crate) fn holds(folder: &Path, start: &str) -> bool {
    file_starting_with(folder, start).is_some()
}

/// rustup's nightly, where it can build a core library.
pub(crate) fn nightly() -> Option<PathBuf> {
    let sysroot = output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]))?;
    let sysroot = PathBuf::from(sysroot);
    sysroot.join("lib/rustlib/src/rust/library/core").is_dir().then(|| sysroot.join("bin/rustc"))
}

/// Major version of the compiler's LLVM, and a shared library of that version.
fn llvm(rustc: &Path) -> Result<(String, PathBuf)> {
    let version = output(Command::new(rustc).arg("-vV")).unwrap_or_default();
    let major = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next())
        .with_context(|| format!("{} does not tell its LLVM version", rustc.display()))?;
    if !LINKER_LLVM.contains(&major) {
        bail!(
            "{} is built on LLVM {major}; bpf-linker {LINKER_VERSION} reads {LINKER_LLVM:?}. On Debian 12, enable \
             bookworm-security and upgrade rustc-web, or set PODSWEEP_EBPF_RUSTC to a newer rustc",
            rustc.display()
        );
    }
    let sysroot = output(Command::new(rustc).args(["--print", "sysroot"])).unwrap_or_default();
    let debian = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let wanted = format!("libLLVM.so.{major}");
    let library = [PathBuf::from(debian), Path::new(&sysroot).join("lib")]
        .iter()
        .find_map(|folder| file_starting_with(folder, &wanted));
    match library {
        Some(library) => Ok((major.to_owned(), library)),
        None => bail!("no {wanted}* for bpf-linker: apt-get install libllvm{major}, or set BPF_LINKER"),
    }
}

fn file_starting_with(folder: &Path, start: &str) -> Option<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).ok()?.flatten().map(|file| file.path()).collect();
    files.sort();
    files
        .into_iter()
        .find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)))
}

/// A folder that looks to the linker's build like an installed LLVM: its library is all it asks for.
fn llvm_prefix(library: &Path) -> Result<PathBuf> {
    let prefix = cache().join("llvm");
    let lib = prefix.join("lib");
    fs::create_dir_all(&lib).with_context(|| format!("cannot make {}", lib.display()))?;
    let own_name = library.file_name().context("a library without a name")?;
    for name in [own_name, "libLLVM.so".as_ref()] {
        let link = lib.join(name);
        // A link of an earlier set-up may lead to a library that is gone.
        let _ = fs::remove_file(&link);
        symlink(library, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(prefix)
}
