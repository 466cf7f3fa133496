//! The running kernel's type information: offsets of fields and argument counts of functions, read from
//! `/sys/kernel/btf/vmlinux` (format: kernel doc bpf/btf.rst).
//!
//! Why a reader of our own: aya keeps its lookups private, `btf-rs` is LGPL, and `btf` resolves the size of all
//! 100,000 types before the first answer, with unchecked arithmetic. This one walks the types once and keeps their
//! positions.
//!
//! Must never: panic, loop or read past the end, whatever the bytes say.

#[cfg(test)]
pub(super) mod reduce;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The kernel's own type information.
pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;

/// What the kernel puts before a tracepoint's name (`include/trace/bpf_probe.h`).
const TRACEPOINT: &[u8] = b"btf_trace_";

/// Anonymous structs and unions, and typedefs, are followed this deep; the kernel's go to 5.
const MAX_NESTING: u8 = 32;

/// Members looked at in one search; `task_struct`, the largest, has some 400.
const MAX_MEMBERS: u32 = 20_000;

/// Type information that is not there or not understood.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}; the kernel must be built with CONFIG_DEBUG_INFO_BTF")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its bytes are not BTF as documented.
    #[error("{path}: not BTF as the kernel's documentation describes it, at byte {at}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Position in the file.
        at: usize,
        /// What was expected there.
        what: &'static str,
    },
}

/// Parsed type information.
pub(super) struct KernelTypes {
    data: Vec<u8>,
    strings: usize,
    /// Position of each type; index is the type's id less one (id 0 is void).
    types: Vec<usize>,
    structures: HashMap<Vec<u8>, u32>,
    functions: HashMap<Vec<u8>, u32>,
    /// Prototypes of tracepoints by name, as `typedef void (*btf_trace_NAME)(void *, …)`.
    tracepoints: HashMap<Vec<u8>, u32>,
}

/// `kind` of `struct btf_type`; only those that matter here by name.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
    /// Kinds beyond this are of a newer format.
    pub(super) const LAST: u32 = ENUM64;
}

/// `struct btf_type` at a position.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    info: u32,
    /// `size` or `type`, by kind.
    third: u32,
}

impl Type {
    const fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }

    const fn length(self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// With the flag, a member's offset shares its word with a bit-field's size.
    const fn flag(self) -> bool {
        self.info >> 31 == 1
    }

    /// Bytes that follow the type itself.
    const fn trailer(self) -> usize {
        match self.kind() {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => MEMBER_BYTES * self.length(),
            kind::ENUM | kind::FUNC_PROTO => 8 * self.length(),
            _ => 0,
        }
    }
}

impl KernelTypes {
    /// Of the running kernel.
    pub(super) fn load() -> Result<Self, BtfError> {
        let path = Path::new(VMLINUX);
        let data =
            std::fs::read(path).map_err(|source| BtfError::Read { path: path.to_path_buf(), source })?;
        Self::parse(data).map_err(|(at, what)| BtfError::Malformed { path: path.to_path_buf(), at, what })
    }

    pub(super) fn parse(data: Vec<u8>) -> Result<Self, (usize, &'static str)> {
        let magic = data.get(..2).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
        if magic != Some(MAGIC) {
            return Err((0, "magic number"));
        }
        let header = |at: usize| read_u32(&data, at).map(|value| value as usize).ok_or((at, "header"));
        let header_length = header(4)?;
        let start = header_length.checked_add(header(8)?).ok_or((8, "type section"))?;
        let end = start.checked_add(header(12)?).filter(|end| *end <= data.len());
        let end = end.ok_or((12, "type section within the file"))?;
        let strings = header_length.checked_add(header(16)?).ok_or((16, "string section"))?;
        let mut types = Self {
            data,
            strings,
            types: Vec::new(),
            structures: HashMap::new(),
            functions: HashMap::new(),
            tracepoints: HashMap::new(),
        };
        let mut at = start;
        while at < end {
            at = types.index(at)?;
        }
        Ok(types)
    }

    /// Notes the type at `at`; returns where the next one is.
    fn index(&mut self, at: usize) -> Result<usize, (usize, &'static str)> {
        let found = self.type_at(at).ok_or((at, "a type"))?;
        if found.kind() == 0 || found.kind() > kind::LAST {
            return Err((at, "a known kind of type"));
        }
        self.types.push(at);
        let id = u32::try_from(self.types.len()).map_err(|_| (at, "fewer types"))?;
        let name = self.name(found.name).unwrap_or_default().to_vec();
        match found.kind() {
            kind::STRUCT if !name.is_empty() => self.structures.entry(name).or_insert(id),
            kind::FUNC => self.functions.entry(name).or_insert(id),
            kind::TYPEDEF if name.starts_with(TRACEPOINT) => {
                self.tracepoints.entry(name[TRACEPOINT.len()..].to_vec()).or_insert(id)
            }
            _ => return Ok(at + TYPE_BYTES + found.trailer()),
        };
        Ok(at + TYPE_BYTES + found.trailer())
    }

    /// Offset in bytes of a field, looked for in anonymous members too; `None` if there is none, or it is a
    /// bit-field off a byte's edge.
    pub(super) fn offset(&self, structure: &str, member: &str) -> Option<u64> {
        let id = *self.structures.get(structure.as_bytes())?;
        let mut members = MAX_MEMBERS;
        let bits = self.bits_of(id, member.as_bytes(), MAX_NESTING, &mut members)?;
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// How many arguments a function has; `None` if the kernel has no such function.
    pub(super) fn arguments(&self, function: &str) -> Option<usize> {
        let function = self.by_id(*self.functions.get(function.as_bytes())?)?;
        let prototype = self.by_id(function.third)?;
        (prototype.kind() == kind::FUNC_PROTO).then_some(prototype.length())
    }

    /// How many arguments a program on a tracepoint gets; `None` if the kernel has no such tracepoint.
    pub(super) fn tracepoint_arguments(&self, tracepoint: &str) -> Option<usize> {
        let definition = self.by_id(*self.tracepoints.get(tracepoint.as_bytes())?)?;
        let pointer = self.by_id(definition.third).filter(|pointer| pointer.kind() == kind::PTR)?;
        let prototype = self.by_id(pointer.third).filter(|found| found.kind() == kind::FUNC_PROTO)?;
        // The first belongs to who registers a probe.
        prototype.length().checked_sub(1)
    }

    fn bits_of(&self, id: u32, member: &[u8], nesting: u8, members: &mut u32) -> Option<u64> {
        let nesting = nesting.checked_sub(1)?;
        let structure = self.by_id(id)?;
        if !matches!(structure.kind(), kind::STRUCT | kind::UNION) {
            return None;
        }
        (0..structure.length()).find_map(|index| {
            *members = members.checked_sub(1)?;
            let at = structure.at + TYPE_BYTES + MEMBER_BYTES * index;
            let name = self.name(read_u32(&self.data, at)?)?;
            let offset = read_u32(&self.data, at + 8)?;
            let bits = u64::from(if structure.flag() { offset & 0x00ff_ffff } else { offset });
            if name == member {
                return Some(bits);
            }
            if !name.is_empty() {
                return None;
            }
            let inner = self.resolve(read_u32(&self.data, at + 4)?)?;
            Some(bits + self.bits_of(inner, member, nesting, members)?)
        })
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        for _ in 0..MAX_NESTING {
            let found = self.by_id(id)?;
            match found.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = found.third;
                }
                _ => return Some(id),
            }
        }
        None
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        self.type_at(*self.types.get(index)?)
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let word = |index: usize| read_u32(&self.data, at + 4 * index);
        Some(Type { at, name: word(0)?, info: word(1)?, third: word(2)? })
    }

    fn name(&self, offset: u32) -> Option<&[u8]> {
        let start = self.strings.checked_add(usize::try_from(offset).ok()?)?;
        let rest = self.data.get(start..)?;
        rest.get(..rest.iter().position(|byte| *byte == 0)?)
    }
}

fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `struct outer { int a; struct { int b; }; }` and `int function(int, int)`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0function\0";
        let info = |kind: u32, length: u32| kind << 24 | length;
        let words: Vec<u32> = [
            vec![1, info(kind::INT, 0), 4, 32],                    // 1: int
            vec![0, info(kind::STRUCT, 1), 4, 13, 1, 0],           // 2: struct { int b; }
            vec![5, info(kind::STRUCT, 2), 8, 11, 1, 0, 0, 2, 32], // 3: struct outer
            vec![0, info(kind::FUNC_PROTO, 2), 1, 0, 1, 0, 1],     // 4: int (int, int)
            vec![15, info(kind::FUNC, 1), 4],                      // 5: function
        ]
        .concat();
        let type_length = u32::try_from(words.len() * 4).unwrap();
        let header = [24, 0, type_length, type_length, u32::try_from(strings.len()).unwrap()];
        let mut data = MAGIC.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        data.extend(header.iter().chain(&words).flat_map(|word| word.to_ne_bytes()));
        data.extend(strings);
        data
    }

    #[test]
    fn fields_are_found_in_anonymous_members_too() {
        let types = KernelTypes::parse(sample()).unwrap();
        assert_eq!(types.offset("outer", "a"), Some(0));
        assert_eq!(types.offset("outer", "b"), Some(4));
        assert_eq!(types.offset("outer", "c"), None);
        assert_eq!(types.offset("other", "a"), None);
        assert_eq!(types.arguments("function"), Some(2));
        assert_eq!(types.arguments("outer"), None);
    }

    #[test]
    fn the_running_kernel_is_read() {
        let types = KernelTypes::load().unwrap();
        assert!(types.offset("dentry", "d_parent").is_some());
        assert!(types.offset("task_struct", "real_cred").unwrap() > 0);
        assert_eq!(types.arguments("vfs_rename"), Some(1));
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(damage in prop::collection::vec((0usize..200, any::<u8>()), 1..8), cut in 0usize..200) {
            let mut data = sample();
            for (at, byte) in damage {
                if let Some(target) = data.get_mut(at) {
                    *target = byte;
                }
            }
            data.truncate(data.len().saturating_sub(cut / 4));
            if let Ok(types) = KernelTypes::parse(data) {
                let _ = types.offset("outer", "b");
                let _ = types.arguments("function");
            }
        }
    }
}
