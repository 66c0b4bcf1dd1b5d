//! What the system says about this process.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// This process at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    /// Resident memory, in MiB.
    pub(crate) memory_mb: f64,
    /// How many threads it has.
    pub(crate) threads: u64,
}

/// Reads `/proc/self/status`; `None` on a system without it.
pub(crate) fn sample() -> Option<Sample> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<Sample> {
    let number = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let kib = u32::try_from(number("VmRSS:")?).ok()?;
    Some(Sample {
        memory_mb: f64::from(kib) / 1024.0,
        threads: number("Threads:")?,
    })
}

/// The CPU time that the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_memory_and_threads() {
        let text = "Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t    2048 kB\nThreads:\t7\n";
        let expected = Sample {
            memory_mb: 2.0,
            threads: 7,
        };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("Name:\tx\n"), None);
        let own = sample().expect("Linux has /proc");
        assert!(own.memory_mb > 0.5 && own.threads >= 1, "{own:?}");
    }

    #[test]
    fn work_costs_cpu_time_and_sleep_does_not() {
        let before = thread_cpu();
        std::thread::sleep(Duration::from_millis(50));
        let slept = thread_cpu() - before;
        let mut sum = 0_u64;
        while thread_cpu() - before < Duration::from_millis(60) {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        assert!(slept < Duration::from_millis(40), "{slept:?}");
    }
}
