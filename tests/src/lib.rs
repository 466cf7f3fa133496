//! What the tests and the demo share.
//!
//! Nothing here is part of the product. Everything made here (cgroups, mounts, files, processes) carries a name of
//! its own and is removed when it is dropped.

pub mod kernel_filesystems;
pub mod kernel_operations;
pub mod kernel_raw;
pub mod kernel_worker;
