//! A cgroup made or removed: the record sent for each.

use core::mem::{offset_of, size_of};

use crate::u64_at;

/// Bytes of a cgroup's path that a record holds, the closing NUL included. A pod's container under the systemd
/// driver takes about 200; an event with a longer path is dropped and counted, the slow rescan finds that cgroup.
pub const CGROUP_PATH_BYTES: usize = 512;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum CgroupEventKind {
    /// Made (tracepoint cgroup_mkdir).
    Made = 1,
    /// Removed (tracepoint cgroup_rmdir).
    Removed = 2,
}

/// One event of the cgroup2 hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct CgroupRecord {
    /// Id of the cgroup.
    pub id: u64,
    /// A [`CgroupEventKind`].
    pub kind: u32,
    /// Bytes of `path` that are filled, without the NUL.
    pub length: u32,
    /// Path below the hierarchy's root.
    pub path: [u8; CGROUP_PATH_BYTES],
}

impl CgroupRecord {
    /// From a ring-buffer record; `None` if it is too short or of an unknown kind.
    pub fn from_bytes(bytes: &[u8]) -> Option<(CgroupEventKind, u64, &[u8])> {
        if bytes.len() < size_of::<Self>() {
            return None;
        }
        let u32_at =
            |offset: usize| Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?));
        let kind = match u32_at(offset_of!(Self, kind))? {
            kind if kind == CgroupEventKind::Made as u32 => CgroupEventKind::Made,
            kind if kind == CgroupEventKind::Removed as u32 => CgroupEventKind::Removed,
            _ => return None,
        };
        let length = usize::try_from(u32_at(offset_of!(Self, length))?).ok()?;
        let path = bytes.get(offset_of!(Self, path)..)?.get(..length.min(CGROUP_PATH_BYTES))?;
        Some((kind, u64_at(bytes, offset_of!(Self, id))?, path))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    fn bytes(kind: u32, length: u32) -> Vec<u8> {
        let mut bytes = 42u64.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(length.to_ne_bytes());
        bytes.extend([b'/'; CGROUP_PATH_BYTES]);
        bytes
    }

    #[test]
    fn a_record_reads_back() {
        assert_eq!(
            CgroupRecord::from_bytes(&bytes(1, 2)),
            Some((CgroupEventKind::Made, 42, b"//".as_slice()))
        );
        assert_eq!(bytes(1, 2).len(), size_of::<CgroupRecord>());
    }

    #[test]
    fn a_bad_record_is_refused_or_bounded() {
        assert_eq!(CgroupRecord::from_bytes(&bytes(3, 2)), None);
        assert_eq!(CgroupRecord::from_bytes(&bytes(2, 2)[..100]), None);
        let (_, _, path) = bytes_path(u32::MAX);
        assert_eq!(path, CGROUP_PATH_BYTES);
    }

    fn bytes_path(length: u32) -> (CgroupEventKind, u64, usize) {
        let bytes = bytes(2, length);
        let (kind, id, path) = CgroupRecord::from_bytes(&bytes).unwrap();
        (kind, id, path.len())
    }
}
