//! What each tier would load on kernels that are not here: planned from their BTF in tests/btf, whose README says where
//! it is from. The tables in docs/kernels.md are made of the same.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::architecture::{self, Architecture};
use super::btf::KernelTypes;
use super::btf::reduce::{Names, reduce};
use super::gap::GapId;
use super::hooks::{Plan, Point, tables};
use super::tiers::Tier;

/// Full BTF to be recorded, and where to; set by `cargo xtask record-btf`.
const RECORD: [&str; 2] = ["PODSWEEP_BTF_FULL", "PODSWEEP_BTF_RECORD"];

/// Around what is made in docs/kernels.md.
const MARKS: [&str; 2] = ["<!-- made by `cargo xtask gen` -->\n", "<!-- end of what is made -->"];

/// Before the second table.
const BETWEEN: &str = "\
## What each tier finds

Of every kernel whose types are recorded. `all`: every function, tracepoint and field that the tier asks for is there, and
nothing is missing beyond the gaps above that are the same on every kernel.
";

/// A kernel whose types are recorded; its file is called `VERSION-ARCHITECTURE.btf`.
struct Recorded {
    version: Vec<u32>,
    name: String,
    architecture: &'static Architecture,
    types: KernelTypes,
}

impl Recorded {
    fn read(path: &Path) -> Self {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (version, architecture) = stem.rsplit_once('-').unwrap();
        Self {
            version: version.split('.').map(|number| number.parse().unwrap()).collect(),
            name: version.to_owned(),
            architecture: named(architecture),
            types: KernelTypes::parse(std::fs::read(path).unwrap()).unwrap(),
        }
    }

    fn plan(&self, tier: Tier) -> Result<Plan, String> {
        Plan::new(tier, self.architecture, &self.types)
    }

    fn offset(&self, tier: Tier, global: &str) -> Option<u64> {
        let plan = self.plan(tier).unwrap();
        plan.offsets().find(|(name, _)| *name == global).map(|(_, offset)| offset)
    }
}

fn named(architecture: &str) -> &'static Architecture {
    architecture::ALL.into_iter().find(|known| known.name == architecture).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/btf")
}

/// Every recorded kernel, oldest first.
fn all() -> Vec<Recorded> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "btf"))
        .map(|path| Recorded::read(&path))
        .collect();
    all.sort_by(|one, other| {
        (&one.version, one.architecture.name).cmp(&(&other.version, other.architecture.name))
    });
    all
}

/// Every name that any tier asks for on any architecture, the older functions of a pair, too.
fn names() -> Names {
    let mut names = Names::default();
    for hook in Tier::ALL.into_iter().flat_map(tables::of) {
        match hook.point {
            Point::Lsm(name, _) => names.functions.push(format!("bpf_lsm_{name}")),
            Point::Return(functions, _) => names.functions.extend(functions.iter().map(ToString::to_string)),
            Point::Tracepoint(name, _) => names.tracepoints.push(name.to_owned()),
        }
        names
            .structures
            .extend(hook.fields.iter().copied().flatten().map(|field| field.structure.to_owned()));
    }
    let registers = architecture::ALL.into_iter().flat_map(|architecture| architecture.fields);
    names.structures.extend(registers.map(|field| field.structure.to_owned()));
    for list in [&mut names.structures, &mut names.functions, &mut names.tracepoints] {
        list.sort();
        list.dedup();
    }
    names
}

/// One row for each gap: where it is, and what helps.
fn table_of_gaps() -> String {
    let mut table = "| gap | what goes unseen | where | what helps |\n|---|---|---|---|\n".to_owned();
    for gap in GapId::ALL {
        let (what, remedy) = (gap.sentence(), gap.remedy());
        writeln!(table, "| `{gap}` | {what} | {} | {remedy} |", places(gap).join("; ")).unwrap();
    }
    table
}

fn places(gap: GapId) -> Vec<String> {
    let tiers = |has: &dyn Fn(Tier) -> bool| {
        let tiers: Vec<_> = Tier::ALL.into_iter().filter(|tier| has(*tier)).map(Tier::as_str).collect();
        (!tiers.is_empty()).then(|| tiers.join(", "))
    };
    let always = tiers(&|tier| tables::blind_spots(tier).iter().any(|(id, _)| *id == gap));
    let by_kernel = tiers(&|tier| tables::of(tier).iter().any(|hook| hook.without == Some(gap)));
    let by_processor = architecture::ALL
        .into_iter()
        .filter(|architecture| architecture.blind_spots.iter().any(|(id, _)| *id == gap))
        .map(|architecture| format!("{} on {}", Tier::SysExit, architecture.name));
    let always = always.map(|tiers| format!("{tiers}: every kernel"));
    let by_kernel = by_kernel.map(|tiers| format!("{tiers}: a kernel without the hook"));
    always.into_iter().chain(by_processor).chain(by_kernel).collect()
}

/// One row for each kernel: what each tier finds there. Gaps that every kernel has in that tier are left out.
fn table_of_kernels() -> String {
    let mut table = "| kernel | processor | lsm | fexit | sys_exit |\n|---|---|---|---|---|\n".to_owned();
    for recorded in all() {
        let cells = Tier::ALL.map(|tier| match recorded.plan(tier) {
            Err(reason) => format!("none: {reason}"),
            Ok(plan) => cell(&plan, tier, recorded.architecture),
        });
        let (name, architecture) = (&recorded.name, recorded.architecture.name);
        writeln!(table, "| {name} | {architecture} | {} |", cells.join(" | ")).unwrap();
    }
    table
}

fn cell(plan: &Plan, tier: Tier, architecture: &Architecture) -> String {
    let everywhere: Vec<GapId> =
        tables::blind_spots(tier).iter().chain(architecture.blind_spots).map(|(gap, _)| *gap).collect();
    let gaps = plan.gaps.iter().map(|gap| gap.id).filter(|gap| !everywhere.contains(gap));
    let gaps: Vec<_> = gaps.map(|gap| format!("`{gap}`")).collect();
    if gaps.is_empty() { "all".into() } else { format!("all but {}", gaps.join(", ")) }
}

#[test]
fn the_reference_of_kernels_is_what_their_types_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kernels.md");
    let written = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = written.split_once(MARKS[0]).unwrap();
    let (_, after) = rest.split_once(MARKS[1]).unwrap();
    let tables = format!("\n{}\n{BETWEEN}\n{}\n", table_of_gaps(), table_of_kernels());
    let now = format!("{before}{}{tables}{}{after}", MARKS[0], MARKS[1]);
    if std::env::var_os("PODSWEEP_BLESS").is_some() {
        std::fs::write(&path, &now).unwrap();
        return;
    }
    assert_eq!(written, now, "docs/kernels.md is not up to date; run `cargo xtask gen`");
}

#[test]
fn every_kernel_since_the_oldest_aim_has_every_tier_whole() {
    let (old, aimed): (Vec<_>, Vec<_>) =
        all().into_iter().partition(|recorded| recorded.version.as_slice() < [5, 15].as_slice());
    assert!(!old.is_empty() && !aimed.is_empty());
    for architecture in architecture::ALL {
        let kernels = aimed.iter().filter(|recorded| recorded.architecture.name == architecture.name);
        assert!(kernels.count() >= 3, "{}: too few recorded kernels", architecture.name);
    }
    for recorded in &aimed {
        for tier in Tier::ALL {
            let plan = recorded.plan(tier).unwrap();
            let of = format!("{} {} {tier}", recorded.name, recorded.architecture.name);
            assert_eq!(cell(&plan, tier, recorded.architecture), "all", "{of}");
            assert_eq!(plan.hooks.len(), tables::of(tier).len(), "{of}");
        }
    }
}

/// As measured on booted kernels; each of them lies elsewhere.
#[test]
fn the_mode_of_a_file_is_found_where_it_was_measured() {
    let measured = [([6, 1], 68), ([6, 12], 12), ([7, 3], 4)];
    for recorded in all() {
        let known = measured.iter().find(|(version, _)| recorded.version.starts_with(version));
        if let Some((_, offset)) = known {
            assert_eq!(recorded.offset(Tier::SysExit, "FILE_MODE"), Some(*offset), "{}", recorded.name);
        }
    }
}

/// `struct user_pt_regs` and `struct pt_regs`, whose beginning no kernel may change: 31 registers, sp, pc, pstate of
/// 8 bytes each, then orig_x0, then the number (arch/arm64/include/asm/ptrace.h).
#[test]
fn the_registers_of_aarch64_are_where_its_interface_has_them() {
    for recorded in all().into_iter().filter(|recorded| recorded.architecture.name == "aarch64") {
        for (global, offset) in [
            ("REGISTERS_SECOND", 8),
            ("REGISTERS_THIRD", 16),
            ("REGISTERS_COMPAT_SECOND", 8),
            ("REGISTERS_COMPAT_THIRD", 16),
            ("COMPAT_WORD", 8 * 33),
            ("REGISTERS_NUMBER", 8 * 35),
        ] {
            assert_eq!(recorded.offset(Tier::SysExit, global), Some(offset), "{} {global}", recorded.name);
        }
    }
}

#[test]
fn what_is_reduced_plans_as_the_whole_does() {
    let [full, record] = RECORD.map(std::env::var_os);
    // This machine's kernel, where no other is to be recorded.
    let types = match full {
        Some(full) => KernelTypes::parse(std::fs::read(full).unwrap()).unwrap(),
        None => KernelTypes::load().unwrap(),
    };
    let data = reduce(&types, &names());
    let reduced = KernelTypes::parse(data.clone()).unwrap();
    for tier in Tier::ALL {
        for architecture in architecture::ALL {
            let plan = |types| format!("{:?}", Plan::new(tier, architecture, types));
            assert_eq!(plan(&reduced), plan(&types), "{tier}");
        }
    }
    if let Some(record) = record {
        std::fs::write(folder().join(record), data).unwrap();
    }
}
