//! The memory of this process.

/// Gives memory that was freed back to the kernel. The allocator keeps it for the thread that had it; what is freed after
/// a beginning that takes much would count as used for as long as the process runs.
///
/// Does nothing with other C libraries than glibc.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    trim();
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no crate binds malloc_trim(3)")]
fn trim() {
    // SAFETY: malloc_trim(3) takes no pointers, is safe to call from any thread, and touches free memory only.
    let _anything_given = unsafe { libc::malloc_trim(0) };
}
