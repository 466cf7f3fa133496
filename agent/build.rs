//! Builds `../agent-ebpf` for `bpfel-unknown-none` with whichever toolchain can, and hands the object on in `OUT_DIR`.
//!
//! In order:
//! 1. `PODSWEEP_EBPF_OBJECT`: a ready object, nothing is compiled;
//! 2. `PODSWEEP_EBPF_RUSTC`: a rustc that ships `core` for the target;
//! 3. /usr/bin/rustc, where it does (Debian's rustc-web and libstd-rust-web-dev-bpf);
//! 4. rustup's nightly with rust-src.
//!
//! bpf-linker: `BPF_LINKER`, else on `PATH`, else where `cargo xtask` puts it. What a variable names must be there:
//! nothing else is taken in its place.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "bpfel-unknown-none";
const OBJECT: &str = "PODSWEEP_EBPF_OBJECT";
const RUSTC: &str = "PODSWEEP_EBPF_RUSTC";
const LINKER: &str = "BPF_LINKER";
/// Where Debian puts its compiler.
const DEBIANS_RUSTC: &str = "/usr/bin/rustc";

/// The crates that may use unstable features on a stable compiler. Named: `1` would turn build-std on.
const UNSTABLE_CRATES: &str = "aya_ebpf,aya_ebpf_bindings,agent_ebpf";

/// Where `cargo xtask` installs the linker, below its cache folder.
const CACHED_LINKER: &str = "bpf-linker-0.13.0/bin/bpf-linker";

/// What cargo and rustup put in the environment for this crate, and must not reach the other toolchain.
const OURS: [&str; 9] = [
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_BOOTSTRAP",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET",
];

fn main() -> ExitCode {
    match make_object() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Cargo shows this as the error of the build; what a failing script prints else, it buries.
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn make_object() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let object = out.join("agent-ebpf.o");
    watch(&Path::new(&variable("CARGO_MANIFEST_DIR")?).join(".."));
    if let Some(ready) = named(OBJECT)? {
        println!("cargo::rerun-if-changed={}", ready.display());
        return copy(&ready, &object);
    }
    let target_folder = out.join("agent-ebpf");
    build(&target_folder)?;
    let built = target_folder.join(TARGET).join("release");
    println!("cargo::metadata=peer={}", built.join("event_per_file").display());
    copy(&built.join("agent-ebpf"), &object)
}

fn copy(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::copy(from, to).map_err(|error| format!("copy {} to {}: {error}", from.display(), to.display()))?;
    Ok(())
}

/// The file that an environment variable names, if it is set.
fn named(variable: &str) -> Result<Option<PathBuf>, Box<dyn Error>> {
    match env::var_os(variable).map(PathBuf::from) {
        Some(path) if !path.is_file() => Err(format!(
            "{variable}={}: no such file; name one that is there, or unset {variable}",
            path.display()
        )
        .into()),
        path => Ok(path),
    }
}

fn watch(root: &Path) {
    // Not PATH: rustup and `cargo xtask` each give cargo one of their own, and podsweep would be built anew each time.
    for name in [OBJECT, RUSTC, LINKER, "PODSWEEP_CACHE"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    for path in ["agent-ebpf/src", "agent-ebpf/Cargo.toml", "agent-ebpf/Cargo.lock", "agent-common"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
}

fn build(target_folder: &Path) -> Result<(), Box<dyn Error>> {
    let manifest = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../agent-ebpf/Cargo.toml");
    let architecture = variable("CARGO_CFG_TARGET_ARCH")?;
    let mut command = cargo()?;
    let linker = linker()?;
    command
        .args(["--release", "--locked", "--target", TARGET, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target_folder)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &linker)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            ["-Cdebuginfo=2", "-Clink-arg=--btf", &format!("--cfg=bpf_target_arch=\"{architecture}\"")]
                .join("\x1f"),
        );
    let status = command.status().map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!(
        "agent-ebpf does not build ({status}) with the linker {}; what compiler and linker said is below",
        linker.display()
    )
    .into())
}

/// `cargo build` with a toolchain that has `core` for the target, or can build it.
fn cargo() -> Result<Command, Box<dyn Error>> {
    let named = named(RUSTC)?;
    let rustc = named.as_deref().unwrap_or(Path::new(DEBIANS_RUSTC));
    if has_core(rustc) {
        let mut command = clean(Command::new(variable("CARGO")?));
        command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", UNSTABLE_CRATES).arg("build");
        return Ok(command);
    }
    if named.is_some() {
        return Err(format!(
            "{RUSTC}={}: has no core library for {TARGET}; name a rustc that has it, or unset {RUSTC}",
            rustc.display()
        )
        .into());
    }
    if nightly_has_sources() {
        let mut command = clean(Command::new("rustup"));
        command.args(["run", "nightly", "cargo", "build", "-Zbuild-std=core"]);
        return Ok(command);
    }
    Err(format!(
        "no toolchain for {TARGET}: run `cargo xtask setup`; or install Debian's rustc-web and \
         libstd-rust-web-dev-bpf; or `rustup toolchain install nightly --component rust-src`; or name a built object \
         in {OBJECT}"
    )
    .into())
}

fn linker() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(named) = named(LINKER)? {
        return Ok(named);
    }
    let on_path =
        env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let cache = env::var_os("PODSWEEP_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache/podsweep")));
    on_path
        .map(|folder| folder.join("bpf-linker"))
        .chain(cache.map(|cache| cache.join(CACHED_LINKER)))
        .find(|linker| linker.is_file())
        .ok_or_else(|| {
            format!("no bpf-linker: run `cargo xtask setup`; or `cargo install bpf-linker`; or name it in {LINKER}")
                .into()
        })
}

fn has_core(rustc: &Path) -> bool {
    let folder = output(clean(Command::new(rustc)).args(["--print", "target-libdir", "--target", TARGET]));
    folder.and_then(|folder| fs::read_dir(folder).ok()).is_some_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

fn nightly_has_sources() -> bool {
    output(clean(Command::new("rustup")).args(["run", "nightly", "rustc", "--print", "sysroot"]))
        .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").exists())
}

fn clean(mut command: Command) -> Command {
    for name in OURS {
        command.env_remove(name);
    }
    command
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn variable(name: &str) -> Result<String, Box<dyn Error>> {
    env::var(name).map_err(|error| format!("{name}: {error}").into())
}
