//! Loads one tier's programs: offsets from BTF into their globals, maps made, programs verified and attached.
//!
//! Dropping what comes out detaches everything.

use aya::programs::{Program, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader};

use super::architecture::{self, Architecture};
use super::btf::KernelTypes;
use super::gap::Gap;
use super::hooks::{Plan, Planned, Point};
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
    /// What this tier cannot see here.
    pub(super) gaps: Vec<Gap>,
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
    let own = architecture::own()?;
    let plan = Plan::new(tier, own, &kernel.types)?;
    let mut ebpf = load(kernel, own, &plan, settings).map_err(|error| short(&error.to_string()))?;
    let Plan { hooks, mut gaps } = plan;
    let mut programs = Vec::new();
    for planned in hooks {
        match (attach_one(&mut ebpf, &planned, &kernel.btf), planned.hook.without) {
            (Ok(()), _) => programs.push(planned.hook.program),
            (Err(reason), Some(gap)) => gaps.push(Gap::new(gap, reason)),
            (Err(reason), None) => return Err(reason),
        }
    }
    Ok(Attached { ebpf, programs, gaps })
}

fn load(
    kernel: &Kernel,
    own: &Architecture,
    plan: &Plan,
    settings: ObserveSettings,
) -> Result<Ebpf, aya::EbpfError> {
    let offsets: Vec<_> = plan.offsets().collect();
    let with_directories = u8::from(settings.with_directories);
    let (native, compat) = (own.native_calls(), own.compat_calls());
    let mark_in_registers = u64::from(own.compat_mark.in_registers);
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(&kernel.btf))
        .map_max_entries("COUNTS", settings.max_cgroups)
        .override_global("WITH_DIRECTORIES", &with_directories, true)
        .override_global("NATIVE_CALLS", native.as_slice(), true)
        .override_global("COMPAT_CALLS", compat.as_slice(), true)
        .override_global("COMPAT_BIT", &own.compat_mark.bit, true)
        .override_global("COMPAT_IN_REGISTERS", &mark_in_registers, true);
    for (global, offset) in &offsets {
        loader.override_global(global, offset, true);
    }
    loader.load(OBJECT)
}

fn attach_one(ebpf: &mut Ebpf, planned: &Planned, btf: &Btf) -> Result<(), String> {
    let Planned { hook, target, .. } = planned;
    let refused = |error: ProgramError| match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            tracing::debug!(program = hook.program, log = %short(&verifier_log.to_string()), "refused by the kernel");
            format!("{} on {target}: load: {io_error}", hook.program)
        }
        other => format!("{} on {target}: {}", hook.program, short(&other.to_string())),
    };
    match (ebpf.program_mut(hook.program), hook.point) {
        (Some(Program::Lsm(program)), Point::Lsm(..)) => {
            program.load(target, btf).and_then(|()| program.attach().map(drop)).map_err(refused)
        }
        (Some(Program::FExit(program)), Point::Return(..)) => {
            program.load(target, btf).and_then(|()| program.attach().map(drop)).map_err(refused)
        }
        (Some(Program::BtfTracePoint(program)), Point::Tracepoint(..)) => {
            program.load(target, btf).and_then(|()| program.attach().map(drop)).map_err(refused)
        }
        _ => Err(format!("the object built into this program has no {} of the right type", hook.program)),
    }
}

fn short(text: &str) -> String {
    text.chars().take(MAX_REASON).collect()
}
