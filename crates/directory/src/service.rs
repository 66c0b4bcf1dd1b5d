//! One service of the mesh, by the registry and by its own instances.

use std::{collections::HashSet, sync::Arc};

use discovery::{Instance, InstanceKey, ServiceKind, Snapshot};
use proto::agentplatform::{AgentInfo, ToolInfo, WorkerInfo};
use xxhash_rust::xxh3::Xxh3;

use crate::{descriptors::Descriptors, single_flight::SingleFlight};

/// One service, as of one moment.
#[derive(Debug)]
pub struct Service {
    /// Consul name.
    pub name: Arc<str>,
    /// What it is to the mesh.
    pub kind: ServiceKind,
    /// What clients call it, such as `echo-agent`.
    pub public_id: String,
    /// The version that most of its healthy instances have; empty when they do not say.
    pub version: String,
    /// The tags of its healthy instances together, of all when none is healthy.
    pub tags: Vec<String>,
    /// Its instances; `None` until the registry has answered.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Full names of the gRPC services it announces, sorted: what `Meta.grpc_services` says, else
    /// its reflection. Health and reflection are not among them: those are every process's own.
    pub grpc_services: Vec<String>,
    /// What tells one generation of its code from the next: its version, and which instances there
    /// are and what they register, since two builds may have one version.
    pub generation: String,
    /// The instance that joined last, of those whose version this is: it may be of another build.
    newest: Option<InstanceKey>,
    recoveries: u64,
    /// What this generation has told of itself.
    pub(crate) self_reported: Arc<SelfReported>,
}

/// What instances were asked, once per generation. A service has one kind, so one of the lists.
#[derive(Debug, Default)]
pub(crate) struct SelfReported {
    pub(crate) descriptors: SingleFlight<Arc<Descriptors>>,
    pub(crate) agent: SingleFlight<Option<AgentInfo>>,
    pub(crate) tool: SingleFlight<Option<ToolInfo>>,
    pub(crate) worker: SingleFlight<Option<WorkerInfo>>,
}

impl Service {
    /// Puts together what the catalog, the snapshot and (when Meta is silent) reflection say.
    #[must_use]
    pub fn new(
        name: &Arc<str>,
        catalog_tags: &[String],
        snapshot: Option<Arc<Snapshot>>,
        reflected: &[String],
        previous: Option<&Self>,
    ) -> Self {
        let all = snapshot
            .as_ref()
            .map_or(&[][..], |snapshot| &snapshot.instances);
        let mut known: Vec<_> = all
            .iter()
            .filter(|instance| instance.is_serving())
            .collect();
        let serving = !known.is_empty();
        if !serving {
            known = all.iter().collect();
        }
        let first = snapshot.as_ref().and_then(|it| it.representative());
        let version = first.map_or("", |first| first.version()).to_owned();
        let (kind, public_id) = discovery::identity(name, catalog_tags, first.map(Arc::as_ref));
        let tags = match first {
            Some(_) => union(
                known
                    .iter()
                    .flat_map(|instance| instance.tags.iter().cloned()),
            ),
            None => catalog_tags.to_vec(),
        };
        let announced = known
            .iter()
            .filter_map(|instance| instance.grpc_services())
            .flatten();
        let mut grpc_services: Vec<String> = announced.collect();
        if grpc_services.is_empty() {
            grpc_services.extend_from_slice(reflected);
        }
        grpc_services.retain(|service| !is_infrastructure(service));
        grpc_services.sort_unstable();
        grpc_services.dedup();
        let newest = newest(&version, all, previous);
        let recoveries = recoveries(all, previous);
        // Without a healthy instance there is nobody to ask: what it reported stays.
        let generation = match previous {
            Some(previous) if !serving => previous.generation.clone(),
            _ => generation(&version, all, recoveries),
        };
        let self_reported = previous
            .filter(|previous| previous.generation == generation)
            .map(|previous| Arc::clone(&previous.self_reported))
            .unwrap_or_default();
        Self {
            name: Arc::clone(name),
            kind,
            public_id,
            version,
            tags,
            snapshot,
            grpc_services,
            generation,
            newest,
            recoveries,
            self_reported,
        }
    }

    /// Every instance the registry knows, critical ones too.
    #[must_use]
    pub fn instances(&self) -> &[Arc<Instance>] {
        self.snapshot
            .as_ref()
            .map_or(&[], |snapshot| &snapshot.instances)
    }

    /// Whether it is one: a sidecar or gateway of a service mesh has a name too.
    #[must_use]
    pub fn is_service(&self) -> bool {
        let snapshot = self.snapshot.as_ref();
        snapshot.is_none_or(|snapshot| snapshot.is_service())
    }

    /// The instances that may be given calls.
    pub fn serving(&self) -> impl Iterator<Item = &Arc<Instance>> + Clone {
        self.instances()
            .iter()
            .filter(|instance| instance.is_serving())
    }

    /// Whether some instance may be given calls.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.serving().next().is_some()
    }

    /// What its healthy instances announce: for each key, the first that has it counts.
    #[must_use]
    pub fn meta(&self) -> channel::Meta<'_> {
        let mut meta = channel::Meta::new();
        for instance in self.serving() {
            for (key, value) in &instance.meta {
                meta.entry(key).or_insert(value);
            }
        }
        meta
    }

    /// Forgets which questions its instances have not answered: they are asked again at once.
    pub async fn forget_failures(&self) {
        let told = &self.self_reported;
        told.descriptors.forget_failure().await;
        told.agent.forget_failure().await;
        told.tool.forget_failure().await;
        told.worker.forget_failure().await;
    }

    /// The first healthy instance of the version most instances have: what its entry in a list shows.
    #[must_use]
    pub fn representative(&self) -> Option<&Arc<Instance>> {
        self.serving()
            .find(|instance| instance.version() == self.version)
    }

    /// The instance that joined since the service was first seen, while it is healthy.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Instance>> {
        let newest = self.newest.as_ref()?;
        self.serving().find(|instance| instance.key == *newest)
    }

    /// Whether only reflection can tell what it serves: no healthy instance says so in its Meta.
    pub(crate) fn needs_reflection(&self) -> bool {
        self.is_serving()
            && self
                .serving()
                .all(|instance| instance.grpc_services().is_none())
    }
}

/// The instance of the most common version that joined or came back last.
fn newest(version: &str, all: &[Arc<Instance>], previous: Option<&Service>) -> Option<InstanceKey> {
    let of_version = || all.iter().filter(|it| it.version() == version);
    // The first set that is seen has no newcomers.
    let previous = previous.filter(|previous| previous.snapshot.is_some())?;
    let before: HashSet<&InstanceKey> = previous.serving().map(|it| &it.key).collect();
    let mut joined = of_version().filter(|it| it.is_serving() && !before.contains(&it.key));
    let is_there = |key: &&InstanceKey| of_version().any(|it| it.key == **key);
    joined
        .next_back()
        .map(|it| &it.key)
        .or_else(|| previous.newest.as_ref().filter(is_there))
        .cloned()
}

/// How often an instance that was unwell came back: with an ID that stays it may be a new process.
fn recoveries(all: &[Arc<Instance>], previous: Option<&Service>) -> u64 {
    let Some(previous) = previous else { return 0 };
    let unwell: HashSet<&InstanceKey> = previous
        .instances()
        .iter()
        .filter(|it| !it.is_serving())
        .map(|it| &it.key)
        .collect();
    let back = all
        .iter()
        .any(|it| it.is_serving() && unwell.contains(&it.key));
    previous.recoveries + u64::from(back)
}

/// A check that fails makes no other code; what an instance registers anew may.
fn generation(version: &str, all: &[Arc<Instance>], recoveries: u64) -> String {
    let mut hash = Xxh3::new();
    let mut part = |part: &str| {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    };
    for instance in all {
        part(&instance.key.node);
        part(&instance.key.id);
        part(&instance.authority());
        for (key, value) in &instance.meta {
            part(key);
            part(value);
        }
    }
    format!("{version}#{:016x}.{recoveries}", hash.digest())
}

/// Whether a gRPC service is one that every process serves for itself.
fn is_infrastructure(grpc_service: &str) -> bool {
    grpc_service == "grpc.health.v1.Health" || grpc_service.starts_with("grpc.reflection.")
}

fn union(tags: impl Iterator<Item = String>) -> Vec<String> {
    let mut all = Vec::new();
    for tag in tags {
        if !all.contains(&tag) {
            all.push(tag);
        }
    }
    all
}
