//! Profiles of the running process, as `go tool pprof` reads them: gzipped `profile.proto` with the
//! names of functions.
//!
//! Without the feature `pprof` there is nothing to profile with, and every profile says how to build
//! it. With it the process has a global allocator that samples one allocation in 512 KiB, and a CPU
//! profile interrupts it 100 times in a second of its CPU time.
//!
//! In every build [`release_memory`] gives freed memory back to the system.

#[cfg(all(
    feature = "pprof",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod sampling;
#[cfg(all(
    feature = "pprof",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
use sampling as built;

#[cfg(not(all(
    feature = "pprof",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod absent;
#[cfg(not(all(
    feature = "pprof",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
use absent as built;

mod release;

pub use release::release_memory;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::runtime;

/// The longest CPU profile.
pub const LONGEST: Duration = Duration::from_secs(60);
/// How long a CPU profile takes that names no time.
pub const USUAL: Duration = Duration::from_secs(30);

/// Whether this program can be profiled.
pub const BUILT_IN: bool = built::BUILT_IN;

/// Why there is no profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The program was built without.
    #[error("{0}")]
    NotBuiltIn(&'static str),
    /// One is taken at a time.
    #[error("another profile is being taken: ask again when it has ended")]
    Busy,
    /// It was begun and could not be ended.
    #[error("{0}")]
    Failed(&'static str),
}

/// A profile that can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CPU time by stack.
    Cpu,
    /// Memory in use by the stack that allocated it.
    Heap,
    /// All memory that was allocated since the start.
    Allocs,
    /// The tasks of tokio by where they were spawned.
    Tasks,
}

/// Takes a profile; a CPU profile takes `time`, at most [`LONGEST`]. Dropped, it ends at once.
///
/// # Errors
/// When the program is built without profiles, or another one is being taken.
pub async fn take(kind: Kind, time: Duration) -> Result<Vec<u8>, Error> {
    built::can(kind)?;
    let turn = Turn::take()?;
    let profile = built::sample(kind, time.min(LONGEST)).await?;
    // Names of functions are looked up in files: that is no work for the runtime's threads.
    let encoded = tokio::task::spawn_blocking(move || {
        let encoded = profile.encode();
        drop(turn);
        encoded
    });
    let failed = Error::Failed("the profile could not be written");
    encoded.await.map_err(|_| failed)?.ok_or(failed)
}

/// Counts the tasks of a runtime that is being built by where they are spawned.
pub fn track_tasks(builder: &mut runtime::Builder) {
    built::track_tasks(builder);
}

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The right to take the one profile.
struct Turn;

impl Turn {
    fn take() -> Result<Self, Error> {
        match TAKEN.swap(true, Ordering::Acquire) {
            true => Err(Error::Busy),
            false => Ok(Self),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}
