//! Settings per service that change while the program runs. Sources, the last one wins: Meta of the
//! instances, the file, the registry's KV store. The table of keys checks their values.

pub(crate) mod file;
pub(crate) mod layer;
mod report;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use channel::{ClusterOptions, Meta};
use discovery::{Discovery, KvEntries};
use parking_lot::Mutex;
use telemetry::{Counter, Gauge, MetricsRegistry};
use tokio::{sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use config::{Config, Key, Source, is_true, switch, unknown};

use crate::{Spec, signals::Reload};
use layer::{AcceptedSetting, Layer, RawSetting, RefusedSetting};

config::keys! {
    /// What can be said of one instance.
    #[derive(Clone, Debug)]
    pub(crate) struct InstanceKeys: "Settings of one instance" {
        /// The instance gets no new calls, except those that ask for it by its ID.
        drain: bool = switch("false"),
    }
}

/// The settings of all services.
#[derive(Debug)]
pub(crate) struct LiveSettings {
    base: Arc<Config>,
    keys: Vec<Key>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    metrics: SettingsMetrics,
}

telemetry::metrics! {
    struct SettingsMetrics {
        refused: Gauge ["source"] = "mesh_config_refused":
            "Values of live settings that are refused at present, by source: file, kv or meta";
        reloads: Counter ["source"] = "mesh_config_reloads": "Changes of live settings that were taken over";
    }
}

#[derive(Debug, Default)]
struct State {
    /// What instances announce in Meta.
    meta: Layer,
    file: Layer,
    kv: Layer,
    /// What KV sets for instances.
    instances: Layer,
    /// Mistakes of a source as a whole.
    file_mistake: Option<RefusedSetting>,
    kv_mistakes: Vec<RefusedSetting>,
    drained: Arc<BTreeSet<String>>,
    /// The services that this program calls.
    called: BTreeSet<String>,
}

impl LiveSettings {
    /// Starts to follow the file and the registry, until `shutdown`.
    pub(crate) async fn start(
        spec: &Spec,
        base: Arc<Config>,
        discovery: &Arc<dyn Discovery>,
        registry: &MetricsRegistry,
        reload: &Reload,
        tracker: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Arc<Self> {
        let live = Arc::new(Self::new(spec, base, registry));
        if live.keys.is_empty() {
            // The program calls nobody: there is nothing to follow.
            return live;
        }
        if let Some(path) = live.base.file() {
            let known = file::stamp(&path).await;
            live.apply_file(file::read(&path).await);
            let follow = follow_file(Arc::clone(&live), path, known, reload.subscribe());
            let shutdown = shutdown.clone();
            tracker.spawn(async move { shutdown.run_until_cancelled(follow).await });
        } else {
            live.apply_file(Ok(BTreeMap::new()));
        }
        let entries = discovery.entries();
        let known = entries.borrow().clone();
        if let Some(entries) = known {
            live.apply_entries(&entries);
        }
        let follow = follow_entries(Arc::clone(&live), entries);
        let shutdown = shutdown.clone();
        tracker.spawn(async move { shutdown.run_until_cancelled(follow).await });
        live
    }

    fn new(spec: &Spec, base: Arc<Config>, registry: &MetricsRegistry) -> Self {
        Self {
            base,
            keys: spec.service_keys(),
            state: Mutex::default(),
            changes: watch::channel(0).0,
            metrics: SettingsMetrics::new(registry),
        }
    }

    /// Applies the file.
    fn apply_file(&self, read: Result<BTreeMap<String, Vec<RawSetting>>, String>) {
        let mut state = self.state.lock();
        let source = self.base.file().map_or(Source::Default, |path| {
            Source::File(path.display().to_string())
        });
        let mut changed = false;
        match read {
            Ok(services) => {
                state.file_mistake = None;
                changed = state.file.apply(&self.keys, services);
            }
            Err(reason) => {
                tracing::warn!(%source, reason, "settings refused: the previous ones stay");
                state.file_mistake = Some(RefusedSetting {
                    key: "config".to_owned(),
                    value: String::new(),
                    source,
                    reason,
                });
            }
        }
        self.publish(&state, "file", changed);
    }

    /// Applies what operators wrote into the KV store.
    fn apply_entries(&self, entries: &KvEntries) {
        let (mut services, mut instances) = (BTreeMap::new(), BTreeMap::new());
        let mut mistakes = Vec::new();
        for (path, value) in &entries.values {
            let source = Source::Kv(format!("{}{path}", KvEntries::PREFIX));
            let mut parts = path.split('/');
            let group = match parts.next().unwrap_or_default() {
                // What the mesh writes itself.
                "mcp-pins" | "mcp-changed" => continue,
                "services" => Ok(&mut services),
                "instances" => Ok(&mut instances),
                other => Err(unknown(other, ["services", "instances"].into_iter())),
            };
            match (group, parts.next(), parts.next(), parts.next()) {
                (Ok(groups), Some(name), Some(key), None) => {
                    let group: &mut Vec<RawSetting> = groups.entry(name.to_owned()).or_default();
                    let (key, value) = (key.to_owned(), Some(value.to_string()));
                    group.push(RawSetting { key, value, source });
                }
                (group, ..) => mistakes.push(RefusedSetting {
                    key: path.to_string(),
                    value: value.to_string(),
                    source,
                    reason: group.err().unwrap_or_else(|| {
                        "expected services/NAME/KEY or instances/ID/drain".to_owned()
                    }),
                }),
            }
        }
        let mut state = self.state.lock();
        for RefusedSetting {
            key,
            source,
            reason,
            ..
        } in &mistakes
        {
            if !state.kv_mistakes.iter().any(|known| known.key == *key) {
                tracing::warn!(key, %source, reason, "setting refused");
            }
        }
        state.kv_mistakes = mistakes;
        let mut changed = state.kv.apply(&self.keys, services);
        changed |= state.instances.apply(InstanceKeys::KEYS, instances);
        let groups = state.instances.groups.iter();
        let drained = groups.filter(|(_, group)| drains(group.given.get("drain")));
        state.drained = Arc::new(drained.map(|(id, _)| id.clone()).collect());
        self.publish(&state, "kv", changed);
    }

    fn publish(&self, state: &State, source: &'static str, changed: bool) {
        let of = |layer: &Layer| layer.refused().count();
        let count = match source {
            "file" => of(&state.file) + usize::from(state.file_mistake.is_some()),
            "kv" => of(&state.kv) + of(&state.instances) + state.kv_mistakes.len(),
            _ => of(&state.meta),
        };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.refused.of([source]).set(count);
        if changed {
            self.metrics.reloads.of([source]).inc();
            self.changes.send_modify(|version| *version += 1);
        }
    }

    /// The winning value of each key of one service.
    fn given<'a>(state: &'a State, service: &str) -> BTreeMap<&'static str, &'a AcceptedSetting> {
        let mut given = BTreeMap::new();
        for layer in [&state.meta, &state.file, &state.kv] {
            if let Some(group) = layer.groups.get(service) {
                given.extend(group.given.iter().map(|(key, value)| (*key, value)));
            }
        }
        given
    }

    /// The configuration for one service.
    fn config(&self, state: &State, service: &str) -> Config {
        let given = Self::given(state, service).into_iter();
        self.base
            .with(given.map(|(key, given)| (key, given.value.clone(), given.source.clone())))
    }
}

impl LiveSettings {
    /// The configuration for one service whose instances announce `meta`.
    pub(crate) fn of(&self, service: &str, meta: &Meta<'_>) -> Config {
        let mut state = self.state.lock();
        if !state.called.contains(service) {
            state.called.insert(service.to_owned());
        }
        // Meta has other keys too, also those of foreign services: they are ignored.
        let announced = self.keys.iter().filter_map(|key| {
            let value = *meta.get(key.name)?;
            Some(RawSetting {
                key: key.name.to_owned(),
                value: Some(value.to_owned()),
                source: Source::Meta,
            })
        });
        if state
            .meta
            .apply_group(&self.keys, service, announced.collect())
        {
            let count = i64::try_from(state.meta.refused().count()).unwrap_or(i64::MAX);
            self.metrics.refused.of(["meta"]).set(count);
            self.metrics.reloads.of(["meta"]).inc();
        }
        self.config(&state, service)
    }
}

impl channel::ServiceConfig for LiveSettings {
    fn options(&self, service: &str, meta: &Meta<'_>) -> Arc<ClusterOptions> {
        let mut options = ClusterOptions::from_config(&self.of(service, meta));
        options
            .lb_policy
            .get_or_insert_with(|| balance::DEFAULT.name.to_owned());
        Arc::new(options)
    }

    fn drained(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.state.lock().drained)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn drains(given: Option<&AcceptedSetting>) -> bool {
    given.is_some_and(|given| is_true(&given.value))
}

async fn follow_file(
    live: Arc<LiveSettings>,
    path: PathBuf,
    mut known: file::FileStamp,
    mut reload: watch::Receiver<u64>,
) {
    loop {
        let asked = tokio::select! {
            () = sleep(file::POLL_INTERVAL) => false,
            Ok(()) = reload.changed() => true,
        };
        let stamp = file::stamp(&path).await;
        if asked || stamp != known {
            known = stamp;
            live.apply_file(file::read(&path).await);
        }
    }
}

async fn follow_entries(
    live: Arc<LiveSettings>,
    mut entries: watch::Receiver<Option<Arc<KvEntries>>>,
) {
    loop {
        let known = entries.borrow_and_update().clone();
        if let Some(entries) = known {
            live.apply_entries(&entries);
        }
        if entries.changed().await.is_err() {
            return;
        }
    }
}
