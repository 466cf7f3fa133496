//! Loads one tier's programs: offsets from BTF into their globals, maps made, programs verified and attached.
//!
//! Dropping what comes out detaches everything.

use aya::programs::{Program, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader};

use super::btf::KernelTypes;
use super::hooks::{self, Hook, Point};
use super::syscalls;
use super::tiers::Tier;
use super::{ObserveError, ObserveSettings};

/// The object that build.rs made of agent-ebpf.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/agent-ebpf.o"));

/// Characters of a kernel's reason that go into an error; a verifier's log may have megabytes.
const MAX_REASON: usize = 300;

/// What is the same for every tier: read once.
pub(super) struct Kernel {
    types: KernelTypes,
    btf: Btf,
}

/// A tier, attached.
pub(super) struct Attached {
    /// Holds the programs, their links and the maps not yet taken.
    pub(super) ebpf: Ebpf,
    /// Names of the programs attached.
    pub(super) programs: Vec<&'static str>,
    /// What this tier cannot see here, a sentence each.
    pub(super) gaps: Vec<String>,
}

impl Kernel {
    pub(super) fn read() -> Result<Self, ObserveError> {
        Ok(Self {
            types: KernelTypes::load()?,
            btf: Btf::from_sys_fs().map_err(|source| ObserveError::Btf(Box::new(source)))?,
        })
    }
}

/// Loads and attaches; the error is the kernel's reason, for people.
pub(super) fn attach(kernel: &Kernel, tier: Tier, settings: ObserveSettings) -> Result<Attached, String> {
    let (hooks, mut gaps) = available(kernel, hooks::of(tier))?;
    let mut ebpf = load(kernel, &hooks, settings).map_err(|error| short(&error.to_string()))?;
    let mut programs = Vec::new();
    for hook in hooks {
        let attached = hook
            .point
            .resolve(&kernel.types)
            .and_then(|function| attach_one(&mut ebpf, &hook, function, &kernel.btf));
        match (attached, hook.without) {
            (Ok(()), _) => programs.push(hook.program),
            (Err(reason), Some(without)) => gaps.push(format!("{without}: {reason}")),
            (Err(reason), None) => return Err(reason),
        }
    }
    gaps.extend(hooks::blind_spots(tier).iter().map(|&gap| gap.to_owned()));
    Ok(Attached { ebpf, programs, gaps })
}

/// The hooks whose fields this kernel has, and a gap for each other one.
fn available(kernel: &Kernel, hooks: Vec<Hook>) -> Result<(Vec<Hook>, Vec<String>), String> {
    let mut found = Vec::new();
    let mut gaps = Vec::new();
    for hook in hooks {
        let missing = hook.fields.iter().find_map(|field| field.offset(&kernel.types).err());
        match (missing, hook.without) {
            (None, _) => found.push(hook),
            (Some(reason), Some(without)) => gaps.push(format!("{without}: {reason}")),
            (Some(reason), None) => return Err(reason),
        }
    }
    Ok((found, gaps))
}

fn load(kernel: &Kernel, hooks: &[Hook], settings: ObserveSettings) -> Result<Ebpf, aya::EbpfError> {
    let offsets: Vec<(&str, u64)> = hooks
        .iter()
        .flat_map(|hook| hook.fields)
        .filter_map(|field| Some((field.global, field.offset(&kernel.types).ok()?)))
        .collect();
    let with_directories = u8::from(settings.with_directories);
    let (native, compat) = (syscalls::native(), syscalls::compat());
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(&kernel.btf))
        .map_max_entries("COUNTS", settings.max_cgroups)
        .override_global("WITH_DIRECTORIES", &with_directories, true)
        .override_global("NATIVE_CALLS", native.as_slice(), true)
        .override_global("COMPAT_CALLS", compat.as_slice(), true);
    for (global, offset) in &offsets {
        loader.override_global(global, offset, true);
    }
    loader.load(OBJECT)
}

fn attach_one(ebpf: &mut Ebpf, hook: &Hook, function: &str, btf: &Btf) -> Result<(), String> {
    let refused = |error: ProgramError| match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            tracing::debug!(program = hook.program, log = %short(&verifier_log.to_string()), "refused by the kernel");
            format!("{} on {function}: load: {io_error}", hook.program)
        }
        other => format!("{} on {function}: {}", hook.program, short(&other.to_string())),
    };
    match (ebpf.program_mut(hook.program), hook.point) {
        (Some(Program::Lsm(program)), Point::Lsm(_)) => {
            program.load(function, btf).and_then(|()| program.attach().map(drop)).map_err(refused)
        }
        (Some(Program::FExit(program)), Point::Return { .. }) => {
            program.load(function, btf).and_then(|()| program.attach().map(drop)).map_err(refused)
        }
        (Some(Program::BtfTracePoint(program)), Point::Tracepoint(_)) => {
            program.load(function, btf).and_then(|()| program.attach().map(drop)).map_err(refused)
        }
        _ => Err(format!("the object built into this program has no {} of the right type", hook.program)),
    }
}

fn short(text: &str) -> String {
    text.chars().take(MAX_REASON).collect()
}
