//! What the kernel knows of this process, as Prometheus's own clients name it, and its limits.

mod cgroup;

use std::{fs, path::Path, sync::OnceLock};

use crate::{Counter, FloatCounter, FloatGauge, MetricsRegistry};

crate::metrics! {
    struct ProcessMetrics {
        cpu: FloatCounter = "process_cpu_seconds": "Processor time that the process has used, in user and system mode";
        start: FloatGauge = "process_start_time_seconds": "When the process started, in seconds since 1970";
        resident: FloatGauge = "process_resident_memory_bytes": "Memory of the process that is in RAM";
        virtual_size: FloatGauge = "process_virtual_memory_bytes": "Address space of the process";
        virtual_max: FloatGauge = "process_virtual_memory_max_bytes": "Limit of the address space";
        files: FloatGauge = "process_open_fds": "Open file descriptors";
        files_max: FloatGauge = "process_max_fds": "Limit of open file descriptors";
        threads: FloatGauge = "process_threads": "Threads of the process";
        cpu_limit: FloatGauge = "process_cpu_limit_cores":
            "Processors that the process may use: by its cgroup, else those that there are";
        memory_limit: FloatGauge = "process_memory_limit_bytes":
            "Memory that the process may use: by its cgroup, else what the machine has";
        io: Counter ["direction"] = "process_io_bytes": "Bytes that the process read from disks and wrote to them";
        network: Counter ["direction"] = "process_network_bytes":
            "Bytes received and transmitted by all interfaces that the process sees";
    }
}

/// Registers the metrics of this process. A number that the system does not tell is left out.
pub fn register_process(registry: &MetricsRegistry) {
    let metrics = ProcessMetrics::new(registry);
    registry.before_scrape(move || metrics.read());
}

impl ProcessMetrics {
    fn read(&self) {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let unknown = f64::NAN;
        let stat = Stat::parse(&text("/proc/self/stat"));
        let of = |number: fn(&Stat) -> f64| stat.as_ref().map_or(unknown, number);
        self.cpu.set(of(|stat| stat.cpu_ticks / ticks()));
        self.resident.set(of(|stat| stat.resident_pages * page()));
        self.virtual_size.set(of(|stat| stat.virtual_bytes));
        self.threads.set(of(|stat| stat.threads));
        let booted = booted().unwrap_or(unknown);
        self.start
            .set(of(|stat| stat.start_ticks / ticks()) + booted);
        let limits = text("/proc/self/limits");
        let limit = |name| limit(&limits, name).unwrap_or(unknown);
        self.virtual_max.set(limit("Max address space"));
        self.files_max.set(limit("Max open files"));
        let files = fs::read_dir("/proc/self/fd").map(Iterator::count);
        // One of them is the folder itself, while it is read.
        let files = files.map_or(unknown, |count| count.saturating_sub(1) as f64);
        self.files.set(files);
        let limits = cgroup::limits(Path::new("/sys/fs/cgroup"), &text("/proc/self/cgroup"));
        let cores =
            std::thread::available_parallelism().map_or(unknown, |cores| cores.get() as f64);
        self.cpu_limit.set(limits.cores.unwrap_or(cores));
        let machine = field(&text("/proc/meminfo"), "MemTotal:").map(|kilobytes| kilobytes * 1024);
        let memory = limits.memory.into_iter().chain(machine).min();
        self.memory_limit
            .set(memory.map_or(unknown, |bytes| bytes as f64));
        let io = text("/proc/self/io");
        for (direction, name) in [("read", "read_bytes:"), ("write", "write_bytes:")] {
            if let Some(bytes) = field(&io, name) {
                self.io.of([direction]).set(bytes);
            }
        }
        let devices = text("/proc/self/net/dev");
        if let Some([received, transmitted]) = network(&devices) {
            self.network.of(["receive"]).set(received);
            self.network.of(["transmit"]).set(transmitted);
        }
    }
}

/// What is read of `/proc/self/stat`, in its units.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    start_ticks: f64,
    threads: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    /// The fields are counted from after the name, which may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<f64> = fields
            .split_whitespace()
            // The state, a letter, is 3rd.
            .skip(1)
            .map(|field| field.parse().unwrap_or(f64::NAN))
            .collect();
        let field = |number: usize| fields.get(number - 4).copied();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn ticks() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

fn page() -> f64 {
    rustix::param::page_size() as f64
}

/// When the machine booted, in seconds since 1970. Read once, or the start would seem to move.
fn booted() -> Option<f64> {
    static BOOTED: OnceLock<Option<f64>> = OnceLock::new();
    *BOOTED.get_or_init(|| {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        field(&stat, "btime").map(|seconds| seconds as f64)
    })
}

/// The number after a word that begins a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The soft limit of this name; infinite where there is none.
fn limit(limits: &str, name: &str) -> Option<f64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

/// Bytes received and transmitted, of all interfaces of `/proc/self/net/dev`.
fn network(devices: &str) -> Option<[u64; 2]> {
    let mut sums = None;
    for line in devices.lines() {
        let Some((_, numbers)) = line.split_once(':') else {
            continue;
        };
        let number = |at| numbers.split_whitespace().nth(at)?.parse::<u64>().ok();
        let [received, transmitted] = sums.unwrap_or([0; 2]);
        sums = Some([received + number(0)?, transmitted + number(8)?]);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read_as_proc_5_describes_them() {
        let stat = "4711 (a) b (c)) S 1 4711 4711 0 -1 4194560 999 0 0 0 250 50 0 0 20 0 17 0 12345 1048576 256 184467";
        let expected = Stat {
            cpu_ticks: 300.0,
            start_ticks: 12345.0,
            threads: 17.0,
            virtual_bytes: 1_048_576.0,
            resident_pages: 256.0,
        };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!(Stat::parse("4711 (a) S 1 2"), None);
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
            Max open files            1024                 524288               files\n\
            Max address space         unlimited            unlimited            bytes\n";
        assert_eq!(limit(limits, "Max open files"), Some(1024.0));
        assert_eq!(limit(limits, "Max address space"), Some(f64::INFINITY));
        let devices = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n    \
            lo:    1000       1    0    0    0     0          0         0     1000       1    0    0    0     0       0          0\n  \
            eth0:     234       1    0    0    0     0          0         0     567       1    0    0    0     0       0          0\n";
        assert_eq!(network(devices), Some([1234, 1567]));
        assert_eq!(network(""), None);
        assert_eq!(
            field("cpu 1\nbtime 1700000000\n", "btime"),
            Some(1_700_000_000)
        );
    }

    #[test]
    fn this_process_is_measured() {
        let registry = MetricsRegistry::new();
        register_process(&registry);
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_virtual_memory_max_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_threads",
            "process_cpu_limit_cores",
            "process_memory_limit_bytes",
            "process_network_bytes_total{direction=\"receive\"}",
        ] {
            assert!(registry.sample(name).is_some_and(|it| it >= 0.0), "{name}");
        }
        let started = registry.sample("process_start_time_seconds").unwrap();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let age = now.as_secs_f64() - started;
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}
