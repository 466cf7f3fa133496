//! Type information cut down to what the hooks ask for, so that a kernel's can be kept beside the tests: a few
//! kilobytes of five million.
//!
//! Comes in: a kernel's types and the names that matter. Goes out: BTF again, read by the same reader. Of a structure
//! stay names and offsets of all members, anonymous ones as deep as they go; of a function its number of arguments.
//! Must never: keep anything by a rule of its own that the reader does not see; a name that the kernel lacks is left
//! out, so that it is missing afterwards, too.

use super::{KernelTypes, MAGIC, MAX_NESTING, MEMBER_BYTES, TYPE_BYTES, Type, kind, read_u32};

/// Header of format version 1: magic, version, flags, and five words.
const HEADER_BYTES: u32 = 24;

/// What is kept.
#[derive(Debug, Default)]
pub(in crate::observe) struct Names {
    pub(in crate::observe) structures: Vec<String>,
    pub(in crate::observe) functions: Vec<String>,
    pub(in crate::observe) tracepoints: Vec<String>,
}

#[derive(Default)]
struct Writer {
    words: Vec<u32>,
    strings: Vec<u8>,
    types: u32,
}

/// The reduced BTF.
pub(in crate::observe) fn reduce(types: &KernelTypes, names: &Names) -> Vec<u8> {
    // The empty name is the first string.
    let mut writer = Writer { strings: vec![0], ..Writer::default() };
    for name in &names.structures {
        let found = types.structures.get(name.as_bytes()).and_then(|id| types.by_id(*id));
        if let Some(structure) = found {
            writer.structure(types, structure, MAX_NESTING);
        }
    }
    for name in &names.functions {
        if let Some(arguments) = types.arguments(name) {
            let prototype = writer.prototype(arguments);
            writer.add(name, kind::FUNC << 24, prototype);
        }
    }
    for name in &names.tracepoints {
        if let Some(arguments) = types.tracepoint_arguments(name) {
            let prototype = writer.prototype(arguments + 1);
            let pointer = writer.add("", kind::PTR << 24, prototype);
            writer.add(&format!("btf_trace_{name}"), kind::TYPEDEF << 24, pointer);
        }
    }
    writer.finish()
}

impl Writer {
    fn structure(&mut self, types: &KernelTypes, structure: Type, nesting: u8) -> u32 {
        let members: Vec<[u32; 3]> = (0..structure.length())
            .filter_map(|index| {
                let at = structure.at + TYPE_BYTES + MEMBER_BYTES * index;
                let name = types.name(read_u32(&types.data, at)?)?;
                let inner = if name.is_empty() && nesting > 0 {
                    self.anonymous(types, read_u32(&types.data, at + 4)?, nesting - 1)
                } else {
                    0
                };
                Some([self.string(name), inner, read_u32(&types.data, at + 8)?])
            })
            .collect();
        let name = types.name(structure.name).unwrap_or_default();
        let id = self.add(&String::from_utf8_lossy(name), structure.info, structure.third);
        self.words.extend(members.concat());
        id
    }

    fn anonymous(&mut self, types: &KernelTypes, id: u32, nesting: u8) -> u32 {
        let found = types.resolve(id).and_then(|id| types.by_id(id));
        found
            .filter(|found| matches!(found.kind(), kind::STRUCT | kind::UNION))
            .map_or(0, |found| self.structure(types, found, nesting))
    }

    /// Arguments without name or type.
    fn prototype(&mut self, arguments: usize) -> u32 {
        let id = self.add("", kind::FUNC_PROTO << 24 | u32::try_from(arguments).unwrap(), 0);
        self.words.extend(vec![0; 2 * arguments]);
        id
    }

    fn add(&mut self, name: &str, info: u32, third: u32) -> u32 {
        let name = self.string(name.as_bytes());
        self.words.extend([name, info, third]);
        self.types += 1;
        self.types
    }

    fn string(&mut self, text: &[u8]) -> u32 {
        let closed = [text, b"\0"].concat();
        let at = self.strings.windows(closed.len()).position(|window| window == closed);
        let at = at.unwrap_or_else(|| {
            self.strings.extend(&closed);
            self.strings.len() - closed.len()
        });
        u32::try_from(at).unwrap()
    }

    fn finish(self) -> Vec<u8> {
        let type_bytes = u32::try_from(4 * self.words.len()).unwrap();
        let string_bytes = u32::try_from(self.strings.len()).unwrap();
        let mut data = MAGIC.to_le_bytes().to_vec();
        data.extend([1, 0]);
        let header = [HEADER_BYTES, 0, type_bytes, type_bytes, string_bytes];
        data.extend(header.iter().chain(&self.words).flat_map(|word| word.to_le_bytes()));
        data.extend(self.strings);
        data
    }
}
