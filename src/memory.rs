//! How memory goes back to the system.

/// A larger block is a mapping of its own, in bytes.
#[cfg(target_env = "gnu")]
const MAPPED: libc::c_int = 256 * 1024;

/// Lets large blocks go back to the system when they are freed, from now on. By itself glibc learns from
/// the first freed body of 10 MB to keep such blocks on its heaps, one for each thread, and the process
/// stays as large as its largest moment. Call it once, before there are threads.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` only sets a parameter of the allocator; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
    }
}
