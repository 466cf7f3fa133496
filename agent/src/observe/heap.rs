//! Gives back to the kernel what loading took: the kernel's type information, twice, in some hundred thousand small
//! pieces. Freed, they stay with the allocator, 12.6 MiB for the whole of the agent's life (measured).
//!
//! Must never: be called where time matters; it walks the whole heap.
#![allow(unsafe_code, reason = "malloc_trim has no safe wrapper")]

/// Gives back every free page. glibc's alone can be told to.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers; glibc takes its own locks (malloc_trim(3): MT-Safe).
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
