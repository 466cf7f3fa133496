//! Free space of the filesystem that holds a path (statvfs).

use std::path::Path;

use super::KernelError;

/// Free space, percent of the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Free {
    /// Free inodes; 100 where the filesystem has no fixed number of them (btrfs says 0 of 0).
    pub inodes_percent: f64,
    /// Bytes free to everyone (not the reserve for root).
    pub bytes_percent: f64,
}

impl Free {
    /// Of the filesystem that holds `path`.
    pub fn of(path: &Path) -> Result<Self, KernelError> {
        let stat = nix::sys::statvfs::statvfs(path)
            .map_err(|errno| KernelError::Read { path: path.to_path_buf(), source: errno.into() })?;
        Ok(Self {
            inodes_percent: percent(stat.files_free(), stat.files()),
            bytes_percent: percent(stat.blocks_available(), stat.blocks()),
        })
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { part as f64 * 100.0 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fixed_number_of_inodes_is_all_free() {
        assert!((percent(0, 0) - 100.0).abs() < f64::EPSILON);
        assert!((percent(1, 4) - 25.0).abs() < f64::EPSILON);
    }
}
