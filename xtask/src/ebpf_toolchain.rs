//! What compiles the kernel side: a rustc with a core library for `bpfel-unknown-none`, and bpf-linker.
//!
//! Two ways, as agent/build.rs tries them: Debian's rustc-web with its prebuilt core, or rustup's nightly with
//! rust-src. The linker reads what the compiler wrote, so it is built against the same major version of LLVM.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, output, run, step, which};

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
    run(cargo()
        .args(["install", "bpf-linker", "--quiet", "--locked", "--version", LINKER_VERSION])
        .args(["--no-default-features", "--features", &format!("llvm-{major}"), "--root"])
        .arg(linker_folder())
        .env("LLVM_PREFIX", prefix)
        // The linker runs for a second a build: its own build time matters more than its speed.
        .envs(
            [("LTO", "off"), ("DEBUG", "0"), ("CODEGEN_UNITS", "16")]
                .map(|(key, value)| (format!("CARGO_PROFILE_RELEASE_{key}"), value)),
        ))
}

fn has_ready_object() -> bool {
    std::env::var_os("PODSWEEP_EBPF_OBJECT").is_some_and(|object| Path::new(&object).is_file())
}

fn has_linker() -> bool {
    let named = std::env::var_os("BPF_LINKER").map(PathBuf::from);
    named.is_some_and(|linker| linker.is_file())
        || which("bpf-linker").is_some()
        || linker_folder().join("bin/bpf-linker").is_file()
}

fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    std::env::var_os("PODSWEEP_CACHE").map_or_else(|| home().join(".cache/podsweep"), PathBuf::from)
}

fn linker_folder() -> PathBuf {
    cache().join(format!("bpf-linker-{LINKER_VERSION}"))
}

/// The first rustc that can compile for the target.
fn compiler() -> Option<PathBuf> {
    prebuilt().or_else(nightly)
}

/// The first rustc that comes with a core library for the target.
pub(crate) fn prebuilt() -> Option<PathBuf> {
    let named = std::env::var_os("PODSWEEP_EBPF_RUSTC").map(PathBuf::from);
    named.into_iter().chain([PathBuf::from("/usr/bin/rustc")]).find(|rustc| has_core(rustc))
}

fn has_core(rustc: &Path) -> bool {
    output(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]))
        .and_then(|folder| fs::read_dir(folder).ok())
        .is_some_and(|files| {
            files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
        })
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
