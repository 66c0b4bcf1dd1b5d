//! Where the queue is kept, and its limits: the keys that every program around it shares.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use anyhow::Context as _;
use backoff::Backoff;
use config::{
    Config, Group, Secret, checked, duration, integer, keys, number, optional, path, port, secret,
    size, text,
};
use jobs::{Jobs, QueueOptions, RedisValues, Store, StoreOptions, SyncPolicy};
use parking_lot::Mutex;

use crate::measured_store::MeasuredStore;

keys! {
    /// Where jobs are kept, and by which limits.
    #[derive(Clone, Debug)]
    pub struct QueueKeys: "Queue of jobs" {
        /// Where jobs are kept. It wins over `redis_host` and `jobs_path`.
        redis_url: Option<Secret> = secret().only(
            is_redis,
            "a URL such as redis://host:6379, rediss://host, redis+unix:///run/redis.sock, \
             redis+sentinel://host:26379,host:26379/name or redis+cluster://host:7000,host:7001",
        ),
        /// PEM file of the authorities that a `rediss://` server is trusted by. Empty: the
        /// system's.
        redis_cacert: Option<PathBuf> = path(),
        /// Host of the Redis that keeps jobs. Empty: 127.0.0.1, where neither `redis_url` nor
        /// `jobs_path` is given.
        redis_host: Option<String> = optional(),
        /// Port of `redis_host`.
        redis_port: u16 = port(6379),
        /// Folder that keeps jobs on a machine without Redis, for one process.
        jobs_path: Option<String> = optional(),
        /// When `jobs_path` is written to the disk. `always` loses nothing at a power cut.
        jobs_sync: SyncKey = checked(
            "always",
            sync,
            |text| sync(text).is_some(),
            "always, never or a duration such as 1s",
        ),
        /// Queue of jobs that name none.
        queue_name: String = text("default").only(is_queue, "1 to 64 of a-z, 0-9, _ and -"),
        /// Partitions of queues that have more than one. All programs need the same.
        jobs_partitions: BTreeMap<String, u16> = checked(
            "",
            partitions,
            |text| partitions(text).is_some(),
            "pairs such as default=4, from 1 to 1024",
        ),
        /// What the names of all keys in Redis begin with.
        jobs_prefix: String = text("mesh:jobs"),
        /// How long a worker may be silent about a job before others get it. All programs need the
        /// same.
        jobs_lease: Duration = duration("30s").zero("a lease ends at once"),
        /// How long results are kept.
        jobs_result_ttl: Duration = duration("24h").zero("they are not kept"),
        /// How long dead letters are kept.
        jobs_dead_ttl: Duration = duration("168h").zero("they are not kept"),
        /// How long an idempotency key is known.
        jobs_key_ttl: Duration = duration("24h").zero("it is forgotten at once"),
        /// Events kept of each partition, about. One entry tells of up to 256 jobs.
        jobs_events: usize = integer(20_000, 100..=100_000_000, "entries"),
        /// Largest payload of a job, 512MiB at most.
        jobs_max_payload: usize = size("4MiB").zero("no payload is taken"),
        /// Largest result of a job, 512MiB at most. A job with a larger one becomes a dead letter.
        jobs_max_result: usize = size("64MiB").zero("no result is taken"),
        /// Queues that there may be. Whoever submits a job makes its queue by name, and each costs
        /// the store and the metrics for good. `queue_name` and the queues of `jobs_partitions`
        /// always have their place.
        max_queues: usize = integer(1000, 0..=1_000_000, "queues").zero("no limit"),
        /// How long a job waits after its first failure. Each further wait is twice as long.
        jobs_backoff_base: Duration = duration("1s").zero("no wait"),
        /// Longest wait of a job after a failure.
        jobs_backoff_max: Duration = duration("5m").zero("no wait"),
        /// By what share such a wait is longer or shorter at random.
        jobs_backoff_jitter: f64 = number(0.2, 0.0..=1.0, "of the wait").zero("by none"),
    }
}

/// The keys of every program that works with jobs.
pub const KEYS: &[Group] = &[QueueKeys::GROUP];

/// When the embedded store writes to the disk.
#[derive(Clone, Copy, Debug)]
pub struct SyncKey(SyncPolicy);

impl Default for SyncKey {
    fn default() -> Self {
        Self(SyncPolicy::Always)
    }
}

/// The largest payload or result that every store can keep: what Redis takes as one value.
const LARGEST: usize = 512 << 20;

/// Queue names of former front ends. They stand for the queue of `queue_name`.
const ALIASES: [&str; 3] = ["runs", "default", "work_queue"];

/// Opens the queue that [`KEYS`] describe. A Redis need not be up yet. A folder is opened once in a
/// process, and shared with later calls.
///
/// # Errors
/// When the address is invalid, and when another process has the folder open.
pub fn open(config: &Config) -> anyhow::Result<Jobs> {
    QueueKeys::from_config(config).open()
}

impl QueueKeys {
    /// The queue that a name means: `queue_name` for none, and for the names that stand for it.
    #[must_use]
    pub fn queue(&self, name: Option<&str>) -> String {
        match name {
            Some(name) if !ALIASES.contains(&name) => name.to_owned(),
            _ => self.queue_name.clone(),
        }
    }

    /// Opens the queue, as [`open`].
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(&self) -> anyhow::Result<Jobs> {
        let store =
            store(&self.address(), &self.store_options()).context("open the queue of jobs")?;
        Ok(Jobs::new(store, self.options()))
    }

    /// Opens the queue for a program, which shows in its metrics how long the store takes and how
    /// much room the disk has.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open_for(&self, context: &service::Context) -> anyhow::Result<Jobs> {
        let address = self.address();
        if let Some(folder) = address.strip_prefix("file://") {
            context.disks.watch(Path::new(folder));
        }
        let store = store(&address, &self.store_options()).context("open the queue of jobs")?;
        let store = MeasuredStore::new(store, &context.registry);
        Ok(Jobs::new(Arc::new(store), self.options()))
    }

    /// Single values in the Redis that keeps the jobs; `None` without a Redis.
    ///
    /// # Errors
    /// When the address is invalid.
    pub fn values(&self) -> anyhow::Result<Option<RedisValues>> {
        let address = self.address();
        if address.starts_with("file://") {
            return Ok(None);
        }
        Ok(Some(RedisValues::new(&address, &self.store_options())?))
    }

    fn store_options(&self) -> StoreOptions {
        StoreOptions {
            prefix: self.jobs_prefix.clone(),
            events: self.jobs_events,
            key_ttl: self.jobs_key_ttl,
            sync: self.jobs_sync.0,
            authority: self.redis_cacert.clone(),
            ..StoreOptions::default()
        }
    }

    fn options(&self) -> QueueOptions {
        let own = self
            .jobs_partitions
            .keys()
            .cloned()
            .chain([self.queue(None)]);
        QueueOptions {
            max_queues: self.max_queues,
            own_queues: own.collect(),
            lease: self.jobs_lease,
            result_ttl: self.jobs_result_ttl,
            dead_ttl: self.jobs_dead_ttl,
            partitions: self.jobs_partitions.clone(),
            max_payload: self.jobs_max_payload.min(LARGEST),
            max_result: self.jobs_max_result.min(LARGEST),
            backoff: Backoff::new(
                self.jobs_backoff_base,
                self.jobs_backoff_max,
                self.jobs_backoff_jitter,
            ),
        }
    }

    /// Where jobs are kept: a URL of a Redis, or `file://` and a folder.
    #[must_use]
    pub fn address(&self) -> String {
        if let Some(url) = &self.redis_url {
            return url.expose().to_owned();
        }
        let host = match (&self.redis_host, &self.jobs_path) {
            (None, Some(path)) => return format!("file://{path}"),
            (host, _) => host.as_deref().unwrap_or("127.0.0.1"),
        };
        let port = self.redis_port;
        match host.contains(':') {
            true => format!("redis://[{host}]:{port}"),
            false => format!("redis://{host}:{port}"),
        }
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

fn sync(text: &str) -> Option<SyncKey> {
    let policy = match text {
        "always" => Some(SyncPolicy::Always),
        "never" => Some(SyncPolicy::Never),
        often => config::parse_duration(often).map(SyncPolicy::Every),
    };
    policy.map(SyncKey)
}

fn partitions(text: &str) -> Option<BTreeMap<String, u16>> {
    let pairs = config::pairs(text)?;
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
    use config::Loader;

    use super::*;

    fn config(set: &[(&str, &str)]) -> Config {
        let loader = Loader::new(QueueKeys::KEYS.to_vec());
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
            assert_eq!(QueueKeys::from_config(&config(set)).address(), expected);
        }
    }

    #[test]
    fn the_limits_of_the_queue_come_from_the_keys() {
        let config = config(&[
            ("jobs_lease", "5s"),
            ("jobs_partitions", "default=4, runs=2"),
            ("jobs_backoff_base", "10ms"),
        ]);
        let options = QueueKeys::from_config(&config).options();
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
            let wrong = Loader::new(QueueKeys::KEYS.to_vec()).set(key, value).load();
            assert!(wrong.is_err(), "{key}={value}");
        }
    }

    #[test]
    fn every_key_reaches_an_option_of_its_own() {
        let read = |set: &[(&str, &str)]| {
            let keys = QueueKeys::from_config(&config(set));
            let store = keys.store_options();
            let sync = (
                store.prefix,
                store.events,
                store.key_ttl,
                store.sync,
                store.authority,
            );
            format!("{:?} {:?} {sync:?}", keys.options(), keys.address())
        };
        for key in QueueKeys::KEYS {
            let other = match key.name {
                "redis_url" => "redis://other",
                "jobs_sync" => "77s",
                "jobs_partitions" => "other=7",
                "jobs_backoff_jitter" => "0.77",
                _ if matches!(key.kind, config::Type::Duration(_)) => "77s",
                _ => "777",
            };
            assert_ne!(read(&[(key.name, other)]), read(&[]), "{}", key.name);
        }
    }

    #[test]
    fn the_defaults_of_the_keys_are_those_of_the_queue_and_its_store() {
        let keys = QueueKeys::default();
        let (options, store) = (keys.options(), keys.store_options());
        let queue = QueueOptions {
            own_queues: options.own_queues.clone(),
            ..QueueOptions::default()
        };
        assert_eq!(format!("{options:?}"), format!("{queue:?}"));
        let default = StoreOptions::default();
        assert_eq!(
            (store.prefix, store.events),
            (default.prefix, default.events)
        );
        let times = |options: StoreOptions| format!("{:?} {:?}", options.key_ttl, options.sync);
        assert_eq!(times(keys.store_options()), times(StoreOptions::default()));
    }

    #[test]
    fn old_names_of_queues_stand_for_the_one_queue() {
        let config = config(&[("queue_name", "work_queue")]);
        for name in [None, Some("default"), Some("runs"), Some("work_queue")] {
            assert_eq!(QueueKeys::from_config(&config).queue(name), "work_queue");
        }
        assert_eq!(QueueKeys::from_config(&config).queue(Some("slow")), "slow");
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
