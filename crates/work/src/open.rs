//! Where the queue is kept, and by which limits: the keys that every program around it shares.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Weak},
};

use anyhow::Context as _;
use jobs::{Backoff, Jobs, QueueOptions, StoreOptions, Store, SyncPolicy};
use parking_lot::Mutex;
use service::{Config, Key, Type};

/// The keys of whatever program has to do with jobs.
pub const KEYS: &[Key] = &[
    Key::new(
        "redis_url",
        Type::Custom(
            is_redis,
            "a URL such as redis://host:6379, rediss://host, redis+unix:///run/redis.sock, \
             redis+sentinel://host:26379,host:26379/name or redis+cluster://host:7000,host:7001",
        ),
        "",
        "where jobs are kept; wins over redis_host and jobs_path",
    )
    .secret(),
    Key::text(
        "redis_cacert",
        "",
        "file of the authorities, as PEM, that a rediss:// server is trusted by; the system's when empty",
    ),
    Key::text(
        "redis_host",
        "",
        "host of the Redis that keeps jobs; 127.0.0.1 where neither redis_url nor jobs_path is given",
    ),
    Key::port("redis_port", "6379", "port of redis_host"),
    Key::text(
        "jobs_path",
        "",
        "folder that keeps jobs on a machine without Redis, for one process",
    ),
    Key::new(
        "jobs_sync",
        Type::Custom(
            |text| sync(text).is_some(),
            "always, never or a duration such as 1s",
        ),
        "always",
        "when jobs_path is written to the disk: always loses nothing at a power cut",
    ),
    Key::new(
        "queue_name",
        Type::Custom(is_queue, "1 to 64 of a-z, 0-9, _ and -"),
        "default",
        "queue of jobs that name none",
    ),
    Key::new(
        "jobs_partitions",
        Type::Custom(
            |text| partitions(text).is_some(),
            "pairs such as default=4, from 1 to 1024",
        ),
        "",
        "partitions of queues that are to have more than one; the same everywhere",
    ),
    Key::text(
        "jobs_prefix",
        "mesh:jobs",
        "what the names of all keys in Redis begin with",
    ),
    Key::duration(
        "jobs_lease",
        "30s",
        "how long a worker may be silent about a job before others get it; the same everywhere",
    ),
    Key::duration("jobs_result_ttl", "24h", "how long results are kept"),
    Key::duration("jobs_dead_ttl", "168h", "how long dead letters are kept"),
    Key::duration(
        "jobs_key_ttl",
        "24h",
        "how long an idempotency key is known",
    ),
    Key::new(
        "jobs_events",
        Type::Integer(100, 100_000_000),
        "20000",
        "entries of events kept of each partition, about; one tells of up to 256 jobs",
    ),
    Key::size(
        "jobs_max_payload",
        "4MiB",
        "largest payload of a job; 512MiB at most",
    ),
    Key::size(
        "jobs_max_result",
        "64MiB",
        "largest result of a job, which is dead with a larger one; 512MiB at most",
    ),
    Key::new(
        "max_queues",
        Type::Integer(0, 1_000_000),
        "1000",
        "queues that there may be, since whoever submits makes them by name; 0 is no limit",
    ),
    Key::duration(
        "jobs_backoff_base",
        "1s",
        "how long a job waits after its first failure; then twice as long each time",
    ),
    Key::duration(
        "jobs_backoff_max",
        "5m",
        "how long a job waits after a failure at most",
    ),
    Key::new(
        "jobs_backoff_jitter",
        Type::Number(0.0, 1.0),
        "0.2",
        "by what share such a wait is longer or shorter at random",
    ),
];

/// The largest payload or result that every store can keep: what Redis takes as one value.
const LARGEST: usize = 512 << 20;

/// Names that jobs came under before there were queues: front ends to the one of `queue_name`.
const ALIASES: [&str; 3] = ["runs", "default", "work_queue"];

/// The queue that a name means: `queue_name` for none, and for the names that stand for it.
#[must_use]
pub fn queue(config: &Config, name: Option<&str>) -> String {
    match name {
        Some(name) if !ALIASES.contains(&name) => name.to_owned(),
        _ => config.text("queue_name").to_owned(),
    }
}

/// Opens the queue that [`KEYS`] describe. A Redis need not be up yet. A folder is opened once in
/// a process, and shared by whoever opens it again.
///
/// # Errors
/// When the address is none, and when another process has the folder open.
pub fn open(config: &Config) -> anyhow::Result<Jobs> {
    let settings = StoreOptions {
        prefix: config.text("jobs_prefix").to_owned(),
        events: config.integer("jobs_events"),
        key_ttl: config.duration("jobs_key_ttl"),
        sync: sync(config.text("jobs_sync")).unwrap_or(SyncPolicy::Always),
        authority: config.optional("redis_cacert").map(PathBuf::from),
        ..StoreOptions::default()
    };
    let address = address(config);
    let store = store(&address, &settings).context("open the queue of jobs")?;
    Ok(Jobs::new(store, options(config)))
}

fn options(config: &Config) -> QueueOptions {
    let partitions = partitions(config.text("jobs_partitions")).unwrap_or_default();
    let own = partitions.keys().cloned().chain([queue(config, None)]);
    QueueOptions {
        max_queues: config.integer("max_queues"),
        own_queues: own.collect(),
        lease: config.duration("jobs_lease"),
        result_ttl: config.duration("jobs_result_ttl"),
        dead_ttl: config.duration("jobs_dead_ttl"),
        partitions,
        max_payload: config.size("jobs_max_payload").min(LARGEST),
        max_result: config.size("jobs_max_result").min(LARGEST),
        backoff: Backoff {
            base: config.duration("jobs_backoff_base"),
            max: config.duration("jobs_backoff_max"),
            jitter: config.number("jobs_backoff_jitter"),
        },
    }
}

fn address(config: &Config) -> String {
    if let Some(url) = config.optional("redis_url") {
        return url.to_owned();
    }
    let host = match (config.optional("redis_host"), config.optional("jobs_path")) {
        (None, Some(path)) => return format!("file://{path}"),
        (host, _) => host.unwrap_or("127.0.0.1"),
    };
    let port = config.port("redis_port");
    match host.contains(':') {
        true => format!("redis://[{host}]:{port}"),
        false => format!("redis://{host}:{port}"),
    }
}

/// The folders that are open in this process: one cannot be opened twice, and a program that
/// serves several roles within one process opens it for each.
static FOLDERS: Mutex<BTreeMap<PathBuf, Weak<dyn Store>>> = Mutex::new(BTreeMap::new());

fn store(address: &str, settings: &StoreOptions) -> anyhow::Result<Arc<dyn Store>> {
    let Some(path) = address.strip_prefix("file://") else {
        return Ok(jobs::open(address, settings)?);
    };
    let folder = std::path::absolute(path)?;
    let mut folders = FOLDERS.lock();
    if let Some(store) = folders.get(&folder).and_then(Weak::upgrade) {
        return Ok(store);
    }
    let store = jobs::open(address, settings)?;
    folders.insert(folder, Arc::downgrade(&store));
    Ok(store)
}

fn is_redis(text: &str) -> bool {
    let known = [
        "redis",
        "rediss",
        "redis+cluster",
        "rediss+cluster",
        "redis+sentinel",
        "rediss+sentinel",
        "redis+unix",
        "unix",
    ];
    matches!(text.split_once("://"), Some((scheme, host)) if known.contains(&scheme) && !host.is_empty())
}

fn is_queue(text: &str) -> bool {
    jobs::Lane::new(text, 0).is_ok()
}

fn sync(text: &str) -> Option<SyncPolicy> {
    match text {
        "always" => Some(SyncPolicy::Always),
        "never" => Some(SyncPolicy::Never),
        often => service::config::duration(often).map(SyncPolicy::Every),
    }
}

fn partitions(text: &str) -> Option<BTreeMap<String, u16>> {
    let pairs = service::config::pairs(text)?;
    let read = |(queue, count): (String, String)| {
        let count = count
            .parse()
            .ok()
            .filter(|count| (1..=1024).contains(count))?;
        is_queue(&queue).then_some((queue, count))
    };
    pairs.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use service::Loader;

    use super::*;

    fn config(set: &[(&str, &str)]) -> Config {
        let loader = Loader::new(KEYS.to_vec());
        let set = set
            .iter()
            .fold(loader, |loader, (key, value)| loader.set(key, *value));
        set.load().unwrap()
    }

    #[test]
    fn the_queue_is_where_the_most_exact_key_says() {
        let table: [(&[(&str, &str)], &str); 5] = [
            (&[], "redis://127.0.0.1:6379"),
            (&[("jobs_path", "/var/jobs")], "file:///var/jobs"),
            (
                &[("redis_host", "cache"), ("jobs_path", "/x")],
                "redis://cache:6379",
            ),
            (
                &[("redis_host", "::1"), ("redis_port", "7")],
                "redis://[::1]:7",
            ),
            (
                &[("redis_url", "rediss://a/"), ("redis_host", "b")],
                "rediss://a/",
            ),
        ];
        for (set, expected) in table {
            assert_eq!(address(&config(set)), expected);
        }
    }

    #[test]
    fn the_limits_of_the_queue_come_from_the_keys() {
        let config = config(&[
            ("jobs_lease", "5s"),
            ("jobs_partitions", "default=4, runs=2"),
            ("jobs_backoff_base", "10ms"),
        ]);
        let options = options(&config);
        assert_eq!(options.lease.as_secs(), 5);
        assert_eq!(options.partitions["runs"], 2);
        assert_eq!(options.backoff.base.as_millis(), 10);
        for (key, value) in [
            ("jobs_partitions", "default=0"),
            ("jobs_partitions", "Bad=1"),
            ("jobs_sync", "often"),
            ("queue_name", "A"),
            ("redis_url", "http://host"),
        ] {
            let wrong = Loader::new(KEYS.to_vec()).set(key, value).load();
            assert!(wrong.is_err(), "{key}={value}");
        }
    }

    #[test]
    fn old_names_of_queues_stand_for_the_one_queue() {
        let config = config(&[("queue_name", "work_queue")]);
        for name in [None, Some("default"), Some("runs"), Some("work_queue")] {
            assert_eq!(queue(&config, name), "work_queue");
        }
        assert_eq!(queue(&config, Some("slow")), "slow");
    }

    #[tokio::test]
    async fn one_folder_is_one_queue_within_a_process() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&[("jobs_path", folder.path().to_str().unwrap())]);
        let (one, other) = (open(&config).unwrap(), open(&config).unwrap());
        let job = jobs::NewJob::new("call", jobs::Payload::Json("{}".into()));
        let id = one.submit(job).await.unwrap().id;
        assert_eq!(other.get(&id).await.unwrap().id, id);
    }
}
