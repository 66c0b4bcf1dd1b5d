//! Facts about the machine, the same for every job of a runner.

use std::{fs, thread};

use serde_json::{Value, json};

/// Name, system, processors and memory of the host, and which process of it runs the job.
pub(crate) fn facts(instance_id: &str) -> Value {
    let read = |path: &str| {
        fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .ok()
    };
    let memory = read("/proc/meminfo").and_then(|text| {
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        total.split_whitespace().next()?.parse::<u64>().ok()
    });
    json!({
        "hostname": read("/proc/sys/kernel/hostname"),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cpu_count": thread::available_parallelism().map(usize::from).ok(),
        "memory_total_mb": memory.map(|kib| kib / 1024),
        "process_id": std::process::id(),
        "worker": instance_id,
        "version": env!("CARGO_PKG_VERSION"),
    })
}
