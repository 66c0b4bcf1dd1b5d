//! The last known set on disk, for a program that starts while Consul is unreachable.
//!
//! A new file is written under another name and then renamed, so that a crash leaves the old one. A
//! file that cannot be read, or that belongs to another Consul, is logged and ignored. It is
//! replaced as soon as Consul answers.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Catalog, Health, Instance, InstanceKey, KvEntries, Snapshot, validate};

/// The version of the file's format.
const FORMAT: u32 = 1;
/// Larger files are not read: they are not ours.
const MAX_BYTES: u64 = 256 << 20;
/// The least time between two writes.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// The file, and what it held when the program started.
#[derive(Debug)]
pub(super) struct Cache {
    path: PathBuf,
    registry: String,
    cached: Option<CacheFile>,
}

/// Everything that is known at one moment.
#[derive(Debug, Default, PartialEq)]
pub(super) struct KnownState {
    pub(super) catalog: Option<Arc<Catalog>>,
    pub(super) entries: Option<Arc<KvEntries>>,
    pub(super) services: BTreeMap<Arc<str>, Arc<Snapshot>>,
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct CacheFile {
    format: u32,
    /// Consul's address: the instances of another Consul are not ours.
    registry: String,
    /// Seconds since 1970.
    written: u64,
    #[serde(default)]
    catalog: Option<BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    entries: Option<BTreeMap<String, String>>,
    #[serde(default)]
    services: BTreeMap<String, Vec<CachedInstance>>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct CachedInstance {
    node: String,
    id: String,
    host: String,
    port: u16,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    meta: BTreeMap<String, String>,
    weight: u32,
    health: String,
}

impl Cache {
    /// Reads the file, if there is one.
    pub(super) fn open(path: PathBuf, registry: &str) -> Self {
        let read = read(&path).and_then(|kept| match kept {
            Some(kept) if kept.format != FORMAT => {
                Err(format!("its format is {} instead of {FORMAT}", kept.format))
            }
            Some(kept) if kept.registry != registry => {
                Err(format!("it is from the Consul at {}", kept.registry))
            }
            kept => Ok(kept),
        });
        let cached = read.unwrap_or_else(|problem| {
            warn!(path = %path.display(), problem, "registry_cache is unusable and will be overwritten");
            None
        });
        Self {
            path,
            registry: registry.to_owned(),
            cached,
        }
    }

    /// How long ago the file was written, seconds; `None` when there was none.
    pub(super) fn age(&self) -> Option<u64> {
        let written = self.cached.as_ref()?.written;
        Some(now().saturating_sub(written))
    }

    pub(super) fn catalog(&self) -> Option<BTreeMap<Arc<str>, Vec<String>>> {
        let services = self.cached.as_ref()?.catalog.as_ref()?;
        let named = services
            .iter()
            .filter(|(name, _)| validate::name(name).is_ok())
            .map(|(name, tags)| (name.as_str().into(), tags.clone()));
        Some(named.collect())
    }

    pub(super) fn entries(&self) -> Option<BTreeMap<Arc<str>, Arc<str>>> {
        let entries = self.cached.as_ref()?.entries.as_ref()?.iter();
        Some(
            entries
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                .collect(),
        )
    }

    pub(super) fn service(&self, name: &str) -> Option<BTreeMap<InstanceKey, Arc<Instance>>> {
        let entries = self.cached.as_ref()?.services.get(name)?.iter();
        let instances = entries.filter_map(|entry| entry.instance(name));
        Some(instances.map(|it| (it.key.clone(), Arc::new(it))).collect())
    }

    /// The content to write. A service that was not watched since the start keeps its cached
    /// instances while the catalog lists it, or while the catalog is not watched.
    fn updated(&self, known: &KnownState) -> CacheFile {
        let (before, catalog) = (self.cached.clone().unwrap_or_default(), &known.catalog);
        let is_named = |name: &str| {
            let named = |catalog: &Arc<Catalog>| catalog.services.contains_key(name);
            catalog.as_ref().is_none_or(named)
        };
        let mut services = before.services;
        services.retain(|name, _| is_named(name));
        for (name, snapshot) in &known.services {
            let entries = snapshot.instances.iter().map(|it| CachedInstance::of(it));
            services.insert(name.to_string(), entries.collect());
        }
        services.retain(|_, instances| !instances.is_empty());
        let named = catalog.as_ref().map(|catalog| {
            let services = catalog.services.iter();
            services
                .map(|(name, tags)| (name.to_string(), tags.clone()))
                .collect()
        });
        let written = known.entries.as_ref().map(|entries| {
            let values = entries.values.iter();
            values
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect()
        });
        CacheFile {
            format: FORMAT,
            registry: self.registry.clone(),
            written: now(),
            catalog: named.or(before.catalog),
            entries: written.or(before.entries),
            services,
        }
    }
}

impl CachedInstance {
    fn of(it: &Instance) -> Self {
        Self {
            node: it.key.node.to_string(),
            id: it.key.id.to_string(),
            host: it.host.clone(),
            port: it.port,
            tags: it.tags.clone(),
            meta: it.meta.clone(),
            weight: it.weight,
            health: it.health.name().to_owned(),
        }
    }

    /// The instance, if it is valid. Anybody may have written the file.
    fn instance(&self, service: &str) -> Option<Instance> {
        let usable = validate::id(&self.id).and_then(|()| validate::host(&self.host));
        if usable.is_err() || self.port == 0 {
            return None;
        }
        Some(Instance {
            key: InstanceKey {
                node: self.node.as_str().into(),
                id: self.id.as_str().into(),
            },
            service: service.into(),
            host: self.host.clone(),
            port: self.port,
            tags: self.tags.clone(),
            meta: self.meta.clone(),
            weight: self.weight,
            health: Health::from_name(&self.health),
        })
    }
}

/// Writes what is known whenever it changes, until `stop`.
pub(super) async fn persist(
    cache: Arc<Cache>,
    changed: Arc<Notify>,
    stop: CancellationToken,
    current: impl Fn() -> KnownState + Send,
) {
    let path = cache.path.display();
    if let Some(age) = cache.age() {
        info!(%path, age_seconds = age, "the last known set is cached for the time that Consul is unreachable");
    }
    let (mut known, mut logged) = (KnownState::default(), None);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = changed.notified() => {}
        }
        let now = current();
        if now != known {
            let (file, to) = (cache.updated(&now), cache.path.clone());
            let written = tokio::task::spawn_blocking(move || write(&to, &file)).await;
            let problem = match written {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if problem != logged
                && let Some(problem) = &problem
            {
                warn!(%path, problem, "registry_cache cannot be written");
            }
            logged = problem;
            known = now;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(WRITE_INTERVAL) => {}
        }
    }
}

fn read(path: &Path) -> Result<Option<CacheFile>, String> {
    let length = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err("it is not a file".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if length > MAX_BYTES {
        return Err(format!("it has {length} bytes, more than {MAX_BYTES}"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// Two programs may share the file, so each writes a temporary file of its own and renames it.
fn write(path: &Path, kept: &CacheFile) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".{}-{:08x}",
        std::process::id(),
        rand::random::<u32>()
    ));
    let new = path.with_file_name(name);
    let written = write_new(&new, kept).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // A failure to remove the half-written file adds nothing to the error.
        fs::remove_file(&new).ok();
    }
    written
}

fn write_new(path: &Path, kept: &CacheFile) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registration;

    const CONSUL: &str = "http://127.0.0.1:8500";

    fn instance(service: &str) -> Instance {
        let Registration { tags, meta, .. } = crate::registration::tests::registration("echo-1");
        Instance {
            key: InstanceKey {
                node: "n".into(),
                id: "echo-1".into(),
            },
            service: service.into(),
            host: "10.0.0.1".to_owned(),
            port: 1,
            tags,
            meta,
            weight: 7,
            health: Health::Warning,
        }
    }

    fn known(service: &str) -> KnownState {
        let snapshot = Snapshot::of(service, [instance(service)]);
        let tags = vec!["agent".to_owned()];
        KnownState {
            catalog: Some(Arc::new(Catalog {
                programs: Default::default(),
                services: [(service.into(), tags)].into(),
            })),
            entries: Some(Arc::new(KvEntries {
                values: [("a/b".into(), "c".into())].into(),
            })),
            services: [(service.into(), Arc::new(snapshot))].into(),
        }
    }

    #[test]
    fn what_was_known_is_remembered_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/registry.json");
        let empty = Cache::open(path.clone(), CONSUL);
        assert_eq!((empty.age(), empty.catalog()), (None, None));
        write(&path, &empty.updated(&known("agent-echo"))).unwrap();
        let cache = Cache::open(path.clone(), CONSUL);
        assert!(cache.age().is_some());
        assert_eq!(cache.catalog().unwrap()["agent-echo"], ["agent"]);
        assert_eq!(&*cache.entries().unwrap()["a/b"], "c");
        let service = cache.service("agent-echo").unwrap();
        assert_eq!(
            *service.into_values().next().unwrap(),
            instance("agent-echo")
        );
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.json");
        write(
            &path,
            &Cache::open(path.clone(), CONSUL).updated(&known("agent-echo")),
        )
        .unwrap();
        assert_eq!(Cache::open(path.clone(), "http://other:8500").age(), None);
        let whole = fs::read(&path).unwrap();
        for bytes in [
            &whole[..whole.len() / 2],
            b"",
            b"{}",
            b"\xff",
            br#"{"format": 2}"#,
        ] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(Cache::open(path.clone(), CONSUL).age(), None);
        }
        assert_eq!(Cache::open(folder.path().to_owned(), CONSUL).age(), None);
    }

    #[test]
    fn a_service_that_nobody_asked_for_again_is_kept_while_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.json");
        write(
            &path,
            &Cache::open(path.clone(), CONSUL).updated(&known("agent-echo")),
        )
        .unwrap();
        let cache = Cache::open(path, CONSUL);
        assert!(
            cache
                .updated(&KnownState::default())
                .services
                .contains_key("agent-echo")
        );
        let other = cache.updated(&known("agent-other"));
        assert_eq!(other.services.keys().collect::<Vec<_>>(), ["agent-other"]);
    }

    #[test]
    fn an_instance_that_nobody_could_call_is_not_remembered() {
        let good = CachedInstance::of(&instance("agent-echo"));
        assert!(good.instance("agent-echo").is_some());
        let bad = CachedInstance {
            host: "no host".to_owned(),
            ..good
        };
        assert_eq!(bad.instance("agent-echo"), None);
    }
}
