//! How the sys_exit program reads one system call: the table from number to [`Call`] is written by the loader, so
//! that the program holds no numbers of any architecture.

/// Entries of a system-call table. Every number a kernel gave to a call that makes or removes a name is below it
/// (openat2, the last, is 437 on all architectures).
pub const SYSCALLS: usize = 512;

/// What a successful system call of some number has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Call {
    /// Nothing that is counted.
    Other = 0,
    /// open(path, flags, …)
    Open = 1,
    /// openat(directory, path, flags, …)
    Openat = 2,
    /// openat2 or creat: flags in memory or implied, the new file itself must be asked.
    OpenUnseen = 3,
    /// mkdir, mkdirat
    Mkdir = 4,
    /// mknod, mknodat
    Mknod = 5,
    /// symlink, symlinkat
    Symlink = 6,
    /// link, linkat
    Link = 7,
    /// unlink
    Unlink = 8,
    /// unlinkat(directory, path, flags): a directory with `AT_REMOVEDIR`
    Unlinkat = 9,
    /// rmdir
    Rmdir = 10,
    /// rename, renameat, renameat2
    Rename = 11,
    /// bind(socket, address, length)
    Bind = 12,
}

impl Call {
    /// From an entry of the table; an unknown one is [`Call::Other`].
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Open,
            2 => Self::Openat,
            3 => Self::OpenUnseen,
            4 => Self::Mkdir,
            5 => Self::Mknod,
            6 => Self::Symlink,
            7 => Self::Link,
            8 => Self::Unlink,
            9 => Self::Unlinkat,
            10 => Self::Rmdir,
            11 => Self::Rename,
            12 => Self::Bind,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_as_what_was_written() {
        for byte in 0..=Call::Bind as u8 {
            assert_eq!(Call::from_byte(byte) as u8, byte);
        }
        assert_eq!(Call::from_byte(Call::Bind as u8 + 1), Call::Other);
    }
}
