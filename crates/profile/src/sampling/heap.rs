//! Memory by the stack that allocated it: the system's allocator, which samples.
//!
//! Of all bytes that a thread allocates, one in 512 KiB is looked at, at random, as Go does it. The
//! allocation with that byte is noted with its stack until it is freed. Counts are scaled back when
//! they are read.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    collections::HashMap,
    ffi::c_void,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

/// The bytes between two samples, on average.
pub(super) const PERIOD_BYTES: u64 = 512 * 1024;
/// Frames of one stack.
const DEPTH: usize = 64;
/// Stacks that are told apart. Further ones count as one without frames.
const STACKS: usize = 16_384;
/// Places of [`FILTER`].
const PLACES: usize = 1 << 16;

/// What one stack has allocated: the numbers and bytes of all and of those in use.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    pub(super) stack: Vec<usize>,
    pub(super) values: [i64; 4],
}

#[global_allocator]
static ALLOCATOR: Sampling = Sampling;

struct Sampling;

thread_local! {
    /// Bytes until the next sample of this thread.
    static LEFT: Cell<i64> = const { Cell::new(0) };
    /// The state of this thread's random numbers; 0 before the first.
    static RANDOM: Cell<u64> = const { Cell::new(0) };
    /// Whether this thread holds the lock of what is noted.
    static BUSY: Cell<bool> = const { Cell::new(false) };
    /// Whether what this thread allocates is the profiler's own.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// How many sampled allocations there are whose address falls on each place: nearly always none, so
/// that freeing what was not sampled costs one look. One that reaches its limit stays there.
static FILTER: [AtomicU8; PLACES] = [const { AtomicU8::new(0) }; PLACES];
static NOTED: Mutex<Option<Noted>> = Mutex::new(None);
static SEEDS: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);

/// What is known of the sampled allocations.
#[derive(Debug, Default)]
struct Noted {
    stacks: HashMap<Box<[usize]>, usize>,
    /// By stack: scaled numbers and bytes.
    totals: Vec<[f64; 4]>,
    /// By address: its stack, and what it was counted as.
    live: HashMap<usize, (usize, f64, f64)>,
}

#[expect(unsafe_code, reason = "an allocator is unsafe to implement")]
// SAFETY: all memory comes from the system's allocator and goes back to it with the same layout. What
// is done beside it neither unwinds nor touches that memory.
unsafe impl GlobalAlloc for Sampling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let memory = unsafe { System.alloc(layout) };
        allocated(memory, layout.size());
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let memory = unsafe { System.alloc_zeroed(layout) };
        allocated(memory, layout.size());
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        freed(memory);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) };
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Before it is freed: another thread may be given the address at once.
        freed(memory);
        // SAFETY: the caller's promise.
        let moved = unsafe { System.realloc(memory, layout, size) };
        allocated(moved, size);
        moved
    }
}

#[inline]
fn allocated(memory: *mut u8, size: usize) {
    // A thread that ends has no more variables of its own.
    let due = LEFT.try_with(|left| {
        let rest = left.get() - size.cast_signed() as i64;
        left.set(rest);
        rest < 0
    });
    if due == Ok(true) && !memory.is_null() {
        sample(memory as usize, size);
    }
}

#[inline]
fn freed(memory: *mut u8) {
    if FILTER[place(memory as usize)].load(Ordering::Relaxed) != 0 {
        forget(memory as usize);
    }
}

fn place(address: usize) -> usize {
    // Fibonacci hashing: addresses are multiples of 16, often of pages.
    let spread = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(spread >> 48).unwrap_or(0) % PLACES
}

#[cold]
fn sample(address: usize, size: usize) {
    let first = RANDOM.with(Cell::get) == 0;
    LEFT.with(|left| left.set(next_interval()));
    // A thread's first allocation only begins its count.
    if first || QUIET.get() || BUSY.replace(true) {
        return;
    }
    note(address, size);
    BUSY.set(false);
}

#[cold]
fn forget(address: usize) {
    if BUSY.replace(true) {
        return;
    }
    {
        let mut noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
        let found = noted.as_mut().and_then(|noted| {
            let (stack, number, bytes) = noted.live.remove(&address)?;
            let totals = noted.totals.get_mut(stack)?;
            totals[2] -= number;
            totals[3] -= bytes;
            Some(())
        });
        if found.is_some() {
            let at = &FILTER[place(address)];
            let less = |count: u8| (count != u8::MAX).then(|| count.saturating_sub(1));
            at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
                .ok();
        }
    }
    BUSY.set(false);
}

fn note(address: usize, size: usize) {
    let mut frames = [0; DEPTH];
    let depth = trace(&mut frames);
    let stack = &frames[..depth];
    // An allocation of this size is sampled with this probability.
    #[expect(clippy::cast_precision_loss, reason = "a sample is no exact number")]
    let (bytes, period) = (size as f64, PERIOD_BYTES as f64);
    let probability = -(-bytes / period).exp_m1();
    let (number, bytes) = (1.0 / probability, bytes / probability);
    let mut noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
    let noted = noted.get_or_insert_default();
    let known = noted.stacks.get(stack).copied();
    let index = known.unwrap_or_else(|| {
        let full = noted.stacks.len() >= STACKS;
        let stack = if full { &[][..] } else { stack };
        *noted.stacks.entry(stack.into()).or_insert_with(|| {
            noted.totals.push([0.0; 4]);
            noted.totals.len() - 1
        })
    });
    if let Some(totals) = noted.totals.get_mut(index) {
        for (total, more) in totals.iter_mut().zip([number, bytes, number, bytes]) {
            *total += more;
        }
    }
    noted.live.insert(address, (index, number, bytes));
    let more = |count: u8| Some(count.saturating_add(1));
    FILTER[place(address)]
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        .ok();
}

/// The return addresses of this thread, the innermost first.
fn trace(frames: &mut [usize; DEPTH]) -> usize {
    let mut depth = 0;
    #[expect(
        unsafe_code,
        reason = "the safe form takes a lock, whose owner may be allocating"
    )]
    // SAFETY: the unwinder of the C library serves any number of threads; only `backtrace`'s own
    // tables of symbols need a lock, and none is looked up here.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            let address = frame.ip() as *mut c_void as usize;
            if address != 0 {
                frames[depth] = address;
                depth += 1;
            }
            depth < DEPTH && address != 0
        });
    }
    depth
}

/// Bytes until the next sample: exponentially distributed, so that no pattern of sizes is missed.
fn next_interval() -> i64 {
    let random = RANDOM.with(|state| {
        let mut bits = state.get();
        if bits == 0 {
            bits = SEEDS.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) | 1;
        }
        // Marsaglia, "Xorshift RNGs", 2003.
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        state.set(bits);
        bits >> 11
    });
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "53 bits fit, and an interval needs no exact number"
    )]
    {
        let uniform = (random as f64 + 1.0) / (1_u64 << 53) as f64;
        (-uniform.ln() * PERIOD_BYTES as f64).min(1e15) as i64
    }
}

/// Does something whose memory no profile shows.
pub(super) fn quietly<T>(act: impl FnOnce() -> T) -> T {
    let before = QUIET.replace(true);
    let done = act();
    QUIET.set(before);
    done
}

/// What every stack has allocated.
pub(super) fn uses() -> Vec<Use> {
    let noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
    // What is allocated here is not noted: the lock is held.
    let busy = BUSY.replace(true);
    let all = noted.iter().flat_map(|noted| {
        noted.stacks.iter().filter_map(|(stack, index)| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a sample is no exact number"
            )]
            let values = noted.totals.get(*index)?.map(|total| total.round() as i64);
            let stack = stack.to_vec();
            Some(Use { stack, values })
        })
    });
    let all = all.collect();
    drop(noted);
    BUSY.set(busy);
    all
}
