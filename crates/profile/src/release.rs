//! Memory that was freed, given back to the system.

/// Gives memory that the program has freed back to the system, as far as whole pages of it are free. glibc
/// keeps it otherwise while anything above it is in use. It takes some milliseconds for each 100 MB, so call
/// it on a thread for blocking work, and only after much was freed.
pub fn release_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "the C library has no safe form of it")]
        // SAFETY: it may be called at any time from any thread, and takes nothing that is in use.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages = pages.split(' ').nth(1).unwrap();
        pages.parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn what_was_freed_below_something_in_use_goes_back() {
        let mut many: Vec<Box<[u8; 400]>> = (0..100_000).map(|_| Box::new([1; 400])).collect();
        let last = many.pop();
        let full = resident();
        drop(many);
        release_memory();
        assert!(resident() + 20_000_000 < full, "{full}, {}", resident());
        drop(last);
    }
}
