//! CPU time by stack: `ITIMER_PROF` sends SIGPROF to a thread that is using the CPU, and the handler
//! notes the thread's stack.
//!
//! The handler allocates nothing, locks nothing and keeps `errno`. It reads the stack by
//! `process_vm_readv`, which fails where a frame pointer leads nowhere, instead of by the pointer.

use std::{
    collections::HashMap,
    mem::{MaybeUninit, size_of},
    ptr::null_mut,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use libc::{c_int, c_void, iovec, itimerval, siginfo_t, timeval, ucontext_t};

use super::heap;
use crate::Error;

/// The CPU time between two samples.
pub(super) const PERIOD_NANOS: u64 = 10_000_000;
/// Samples of one profile: 60 s of ten busy cores. Pages are taken as they are written.
const MOST: usize = 60_000;
/// Frames of one stack.
const DEPTH: usize = 64;

/// One interrupted stack: the interrupted instruction, then return addresses; 0 ends it.
type Stack = [usize; DEPTH];

/// Where the handler writes.
#[derive(Debug)]
struct Buffer {
    /// How many were sampled, those that found no room too.
    next: AtomicUsize,
    stacks: Box<[Stack]>,
}

/// What a profile has seen.
#[derive(Debug)]
pub(crate) struct Samples {
    stacks: Box<[Stack]>,
    count: usize,
    pub(super) lost: usize,
    pub(super) took: Duration,
}

impl Samples {
    /// Each stack with how often it was seen.
    pub(super) fn counts(&self) -> HashMap<&[usize], i64> {
        let mut counts = HashMap::new();
        for stack in &self.stacks[..self.count] {
            let depth = stack.iter().position(|it| *it == 0).unwrap_or(DEPTH);
            *counts.entry(&stack[..depth]).or_default() += 1;
        }
        counts.remove(&[][..]);
        counts
    }
}

/// The buffer of the present profile; null while there is none.
static BUFFER: AtomicPtr<Buffer> = AtomicPtr::new(null_mut());
/// Handlers that may be using it.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Samples until it is stopped or dropped.
#[derive(Debug)]
pub(super) struct Sampler {
    started: Instant,
}

impl Sampler {
    pub(super) fn start() -> Result<Self, Error> {
        let buffer = heap::quietly(|| {
            let stacks = vec![[0; DEPTH]; MOST].into_boxed_slice();
            let next = AtomicUsize::new(0);
            Box::new(Buffer { next, stacks })
        });
        let buffer = Box::into_raw(buffer);
        BUFFER.store(buffer, Ordering::SeqCst);
        let sampler = Self {
            started: Instant::now(),
        };
        install()?;
        every(PERIOD_NANOS)?;
        Ok(sampler)
    }

    /// Ends it.
    pub(super) fn stop(self) -> Samples {
        let took = self.started.elapsed();
        let taken = take();
        let (stacks, seen) = taken.map_or_else(
            || (Box::default(), 0),
            |buffer| (buffer.stacks, buffer.next.into_inner()),
        );
        let count = seen.min(stacks.len());
        Samples {
            stacks,
            count,
            lost: seen - count,
            took,
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        drop(take());
    }
}

/// Stops the timer, and takes the buffer from the handlers.
fn take() -> Option<Box<Buffer>> {
    // Without a timer there is nothing to stop: it has been refused before.
    every(0).ok();
    let buffer = BUFFER.swap(null_mut(), Ordering::SeqCst);
    while INSIDE.load(Ordering::SeqCst) > 0 {
        thread::yield_now();
    }
    #[expect(
        unsafe_code,
        reason = "the buffer crossed over to a signal handler as a pointer"
    )]
    // SAFETY: it came from `Box::into_raw`, `swap` gave it to nobody else, and no handler that saw
    // it is still inside.
    (!buffer.is_null()).then(|| unsafe { Box::from_raw(buffer) })
}

/// Has the handler called, for good: a signal that comes late finds no buffer, and does nothing.
fn install() -> Result<(), Error> {
    #[expect(unsafe_code, reason = "the standard library has no signals")]
    // SAFETY: `action` is valid for `sigaction`, whose zeroes are an empty mask. The handler is
    // async-signal-safe.
    let installed = unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handle as *const () as usize;
        // A system call that can be restarted is; runtimes expect EINTR of the others.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGPROF, &raw const action, null_mut())
    };
    match installed {
        0 => Ok(()),
        _ => Err(Error::Failed("the kernel refuses a handler of SIGPROF")),
    }
}

/// Sends SIGPROF after each such time on the CPU; never for 0.
fn every(nanos: u64) -> Result<(), Error> {
    let time = timeval {
        tv_sec: 0,
        tv_usec: libc::suseconds_t::try_from(nanos / 1000).unwrap_or(0),
    };
    let timer = itimerval {
        it_interval: time,
        it_value: time,
    };
    #[expect(unsafe_code, reason = "the standard library has no such timer")]
    // SAFETY: `timer` is valid for the call.
    let set = unsafe { setitimer(libc::ITIMER_PROF, &raw const timer, null_mut()) };
    match set {
        0 => Ok(()),
        _ => Err(Error::Failed("the kernel refuses a timer of CPU time")),
    }
}

#[expect(unsafe_code, reason = "libc has no binding of it on every target")]
// SAFETY: as POSIX declares it.
unsafe extern "C" {
    fn setitimer(which: c_int, new: *const itimerval, old: *mut itimerval) -> c_int;
}

extern "C" fn handle(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let buffer = BUFFER.load(Ordering::SeqCst);
    if !buffer.is_null() && !context.is_null() {
        #[expect(unsafe_code, reason = "a signal handler gets pointers")]
        // SAFETY: the kernel gave the context, and the buffer lives while this counts as inside.
        // Each handler writes a stack of its own.
        unsafe {
            let errno = *libc::__errno_location();
            let at = (*buffer).next.fetch_add(1, Ordering::Relaxed);
            let stacks = &raw mut *(*buffer).stacks;
            if at < stacks.len() {
                let stack = stacks.cast::<Stack>().add(at);
                note(&mut *stack, &*context.cast::<ucontext_t>());
            }
            *libc::__errno_location() = errno;
        }
    }
    INSIDE.fetch_sub(1, Ordering::SeqCst);
}

/// Notes the stack of an interrupted thread.
fn note(stack: &mut Stack, context: &ucontext_t) {
    let (instruction, mut frame) = registers(context);
    // Addresses are return addresses, which lie behind the instruction that they mean.
    stack[0] = instruction.wrapping_add(1);
    for slot in &mut stack[1..] {
        let Some([next, back]) = read(frame) else {
            return;
        };
        if back == 0 {
            return;
        }
        *slot = back;
        // The stack grows downwards: callers are at higher addresses.
        if next <= frame {
            return;
        }
        frame = next;
    }
}

#[cfg(target_arch = "x86_64")]
fn registers(context: &ucontext_t) -> (usize, usize) {
    let registers = &context.uc_mcontext.gregs;
    let of = |register: c_int| {
        let at = usize::try_from(register).unwrap_or(0);
        registers[at].cast_unsigned() as usize
    };
    (of(libc::REG_RIP), of(libc::REG_RBP))
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &ucontext_t) -> (usize, usize) {
    let registers = &context.uc_mcontext;
    (registers.pc as usize, registers.regs[29] as usize)
}

/// Two words of our own memory, or `None` where there is none.
fn read(address: usize) -> Option<[usize; 2]> {
    let mut words = [0; 2];
    let size = size_of::<[usize; 2]>();
    if address == 0 || address % size_of::<usize>() != 0 {
        return None;
    }
    let to = iovec {
        iov_base: (&raw mut words).cast(),
        iov_len: size,
    };
    let from = iovec {
        iov_base: address as *mut c_void,
        iov_len: size,
    };
    #[expect(
        unsafe_code,
        reason = "the kernel checks the address, which a read would not"
    )]
    // SAFETY: `words` has room for what is read, and the kernel refuses what is not mapped.
    let read =
        unsafe { libc::process_vm_readv(libc::getpid(), &raw const to, 1, &raw const from, 1, 0) };
    (usize::try_from(read) == Ok(size)).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_not_there_is_not_read() {
        let words = [7_usize, 9];
        assert_eq!(read((&raw const words) as usize), Some([7, 9]));
        for nowhere in [0, 8, 4096, usize::MAX - 15] {
            assert_eq!(read(nowhere), None, "{nowhere:#x}");
        }
    }
}
