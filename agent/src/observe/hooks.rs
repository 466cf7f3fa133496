//! Where each program is hung on, which fields it reads, and what of that a kernel has. The tables themselves:
//! [`tables`].
//!
//! Comes in: a tier and a kernel's types. Goes out: a [`Plan`], or why the tier cannot be had. Must never: look at the
//! running kernel by itself. That the plan of a kernel can be made without booting it is what the tests of recorded
//! BTF stand on.

pub(super) mod tables;

use super::architecture::Architecture;
use super::btf::KernelTypes;
use super::gap::{Gap, GapId};
use super::tiers::Tier;

/// A field whose offset a program needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// The program's global that takes the offset.
    pub(super) global: &'static str,
    pub(super) structure: &'static str,
    member: &'static str,
    /// Bytes from the member's own offset.
    further: u64,
}

/// Where a program is hung on. All take the number of arguments that the program was written for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Point {
    /// An LSM hook.
    Lsm(&'static str, usize),
    /// The return of the first of these functions that the kernel has; newest name first.
    Return(&'static [&'static str], usize),
    /// A BTF-typed tracepoint.
    Tracepoint(&'static str, usize),
}

/// One program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook {
    /// Its name in the object.
    pub(super) program: &'static str,
    /// Where it is hung on.
    pub(super) point: Point,
    /// The fields that it reads.
    pub(super) fields: &'static [&'static [Field]],
    /// What goes unseen without it; `None`: the tier is of no use without it.
    pub(super) without: Option<GapId>,
}

/// A hook that this kernel has.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) hook: Hook,
    /// What to hang it on: the name of a function, LSM hook or tracepoint.
    pub(super) target: &'static str,
    /// Offsets by global.
    offsets: Vec<(&'static str, u64)>,
}

/// What a tier would load on a kernel.
#[derive(Debug)]
pub(super) struct Plan {
    /// Those that the tier cannot do without first.
    pub(super) hooks: Vec<Planned>,
    /// What goes unseen.
    pub(super) gaps: Vec<Gap>,
}

impl Field {
    pub(super) const fn new(global: &'static str, structure: &'static str, member: &'static str) -> Self {
        Self { global, structure, member, further: 0 }
    }

    /// An element of a member that is an array of 64-bit words.
    pub(super) const fn element(
        global: &'static str,
        structure: &'static str,
        member: &'static str,
        index: u64,
    ) -> Self {
        Self { global, structure, member, further: index * 8 }
    }

    fn offset(self, types: &KernelTypes) -> Result<u64, String> {
        types
            .offset(self.structure, self.member)
            .map(|offset| offset + self.further)
            .ok_or_else(|| format!("this kernel's BTF has no field {}.{}", self.structure, self.member))
    }
}

impl Point {
    /// The name to load for on a kernel.
    fn resolve(self, types: &KernelTypes) -> Result<&'static str, String> {
        match self {
            Self::Return(names, wanted) => first_of(names, wanted, |name| types.arguments(name)),
            Self::Lsm(name, wanted) => {
                first_of(&[name], wanted, |name| types.arguments(&format!("bpf_lsm_{name}")))
            }
            Self::Tracepoint(name, wanted) => {
                first_of(&[name], wanted, |name| types.tracepoint_arguments(name))
            }
        }
    }
}

fn first_of(
    names: &[&'static str],
    wanted: usize,
    arguments: impl Fn(&str) -> Option<usize>,
) -> Result<&'static str, String> {
    for name in names {
        match arguments(name) {
            None => {}
            Some(found) if found == wanted => return Ok(name),
            Some(found) => {
                return Err(format!("{name} takes {found} arguments on this kernel, not {wanted}"));
            }
        }
    }
    Err(format!("this kernel's BTF has none of {}", names.join(", ")))
}

impl Hook {
    /// The error names what the kernel lacks.
    fn plan(self, types: &KernelTypes, own_fields: &[Field]) -> Result<Planned, String> {
        let target = self.point.resolve(types)?;
        let fields = self.fields.iter().copied().flatten().chain(own_fields);
        let offsets = fields.map(|field| Ok((field.global, field.offset(types)?)));
        Ok(Planned { hook: self, target, offsets: offsets.collect::<Result<_, String>>()? })
    }
}

impl Plan {
    /// What `tier` would load on a kernel with these types.
    pub(super) fn new(tier: Tier, architecture: &Architecture, types: &KernelTypes) -> Result<Self, String> {
        let mut plan = Self { hooks: Vec::new(), gaps: Vec::new() };
        for hook in tables::of(tier) {
            let own_fields = if hook.program == tables::SYS_EXIT { architecture.fields } else { &[] };
            match (hook.plan(types, own_fields), hook.without) {
                (Ok(planned), _) => plan.hooks.push(planned),
                (Err(reason), Some(gap)) => plan.gaps.push(Gap::new(gap, reason)),
                (Err(reason), None) => return Err(reason),
            }
        }
        let own = if tier == Tier::SysExit { architecture.blind_spots } else { &[] };
        let blind_spots = tables::blind_spots(tier).iter().chain(own);
        plan.gaps.extend(blind_spots.map(|(gap, reason)| Gap::new(*gap, *reason)));
        Ok(plan)
    }

    /// The offset of each field, by the global that takes it. A field of several hooks is there several times.
    pub(super) fn offsets(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.hooks.iter().flat_map(|planned| planned.offsets.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::architecture;

    #[test]
    fn the_newest_name_that_fits_is_taken() {
        let old = |name: &str| (name == "do_filp_open").then_some(3);
        assert_eq!(first_of(&["do_file_open", "do_filp_open"], 3, old), Ok("do_filp_open"));
        let both = |_: &str| Some(3);
        assert_eq!(first_of(&["do_file_open", "do_filp_open"], 3, both), Ok("do_file_open"));
    }

    #[test]
    fn changed_arguments_are_refused_by_name() {
        let refused = first_of(&["vfs_rename"], 1, |_| Some(6)).unwrap_err();
        assert_eq!(refused, "vfs_rename takes 6 arguments on this kernel, not 1");
        assert!(first_of(&["a", "b"], 1, |_| None).unwrap_err().contains("a, b"));
    }

    #[test]
    fn this_kernel_has_every_field_and_function() {
        let types = KernelTypes::load().unwrap();
        for tier in Tier::ALL {
            let plan = Plan::new(tier, architecture::own().unwrap(), &types).unwrap();
            assert_eq!(plan.hooks.len(), tables::of(tier).len(), "{tier}: {:?}", plan.gaps);
        }
    }
}
