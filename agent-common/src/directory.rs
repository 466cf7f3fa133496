//! Directories in which files are created: key of the count map, and the record sent when one is first seen.

use core::mem::{offset_of, size_of};

use crate::u64_at;

/// Components of a path that a record holds, counted from the directory upwards.
pub const DEPTH: usize = 12;

/// Bytes of one component, the closing NUL included. The longest names in runtimes' own paths are 64 hexadecimal
/// digits; a longer one (up to NAME_MAX, 255) is cut.
pub const NAME_BYTES: usize = 80;

/// One directory in which a cgroup creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct DirKey {
    /// Id of the creating cgroup.
    pub cgroup: u64,
    /// Inode number of the directory.
    pub inode: u64,
    /// `s_dev` of its filesystem, in the kernel's encoding (major in the upper 12 of 32 bits).
    pub device: u64,
}

/// Sent once, when a directory enters the count map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct DirSeen {
    /// Which directory.
    pub key: DirKey,
    /// How many of `names` are filled; [`DEPTH`] may mean that the path goes further up.
    pub depth: u64,
    /// Components, the directory's own name first, each closed by NUL; what follows the NUL is undefined.
    pub names: [[u8; NAME_BYTES]; DEPTH],
}

impl DirKey {
    /// Words of the map key.
    pub const WORDS: usize = 3;

    /// From the map key as read.
    pub const fn from_words([cgroup, inode, device]: [u64; Self::WORDS]) -> Self {
        Self { cgroup, inode, device }
    }

    /// As the map key.
    pub const fn to_words(self) -> [u64; Self::WORDS] {
        [self.cgroup, self.inode, self.device]
    }
}

impl DirSeen {
    /// From a ring-buffer record; `None` if it is too short.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < size_of::<Self>() {
            return None;
        }
        let key = offset_of!(Self, key);
        let mut names = [[0; NAME_BYTES]; DEPTH];
        for (index, name) in names.iter_mut().enumerate() {
            let start = offset_of!(Self, names) + index * NAME_BYTES;
            name.copy_from_slice(bytes.get(start..start + NAME_BYTES)?);
        }
        Some(Self {
            key: DirKey {
                cgroup: u64_at(bytes, key + offset_of!(DirKey, cgroup))?,
                inode: u64_at(bytes, key + offset_of!(DirKey, inode))?,
                device: u64_at(bytes, key + offset_of!(DirKey, device))?,
            },
            depth: u64_at(bytes, offset_of!(Self, depth))?,
            names,
        })
    }

    /// The components from the top down, without their NUL.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        let filled = usize::try_from(self.depth).unwrap_or(DEPTH).min(DEPTH);
        self.names[..filled].iter().rev().map(|name| {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
            &name[..end]
        })
    }

    /// Whether the path may go further up than the record tells.
    pub const fn may_be_deeper(&self) -> bool {
        self.depth >= DEPTH as u64
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    fn bytes(depth: u64, names: &[&[u8]]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [7u64, 8, 9, depth].iter().flat_map(|word| word.to_ne_bytes()).collect();
        for index in 0..DEPTH {
            let mut name = [0xff; NAME_BYTES];
            if let Some(given) = names.get(index) {
                name[..given.len()].copy_from_slice(given);
                name[given.len()] = 0;
            }
            bytes.extend(name);
        }
        bytes
    }

    #[test]
    fn a_record_reads_from_the_top_down() {
        let seen = DirSeen::from_bytes(&bytes(2, &[b"cache", b"app"])).unwrap();
        assert_eq!(seen.key, DirKey { cgroup: 7, inode: 8, device: 9 });
        assert_eq!(seen.components().collect::<Vec<_>>(), [b"app".as_slice(), b"cache"]);
        assert!(!seen.may_be_deeper());
    }

    #[test]
    fn a_bad_record_is_refused_or_bounded() {
        let whole = bytes(u64::MAX, &[]);
        assert_eq!(DirSeen::from_bytes(&whole[..whole.len() - 1]), None);
        let seen = DirSeen::from_bytes(&whole).unwrap();
        assert_eq!(seen.components().count(), DEPTH);
        assert!(seen.components().all(|name| name.len() == NAME_BYTES));
    }

    #[test]
    fn the_layout_has_no_padding() {
        assert_eq!(size_of::<DirKey>(), 8 * DirKey::WORDS);
        assert_eq!(size_of::<DirSeen>(), size_of::<DirKey>() + 8 + NAME_BYTES * DEPTH);
    }
}
