//! A thousand services of ten instances: what is done only when it is needed.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use discovery::{Catalog, Discovery, Health, Instance, InstanceKey, Registration, Snapshot};
use mesh_channel::{CallAffinity, CallAttempt, ClusterOptions, Error, Mesh, Target};
use telemetry::MetricsRegistry;
use tokio::{sync::watch, time::Instant};

use crate::{
    server::{Server, echo, handler},
    support::{Call, MS, World, until},
};

const SERVICES: usize = 1_000;
const INSTANCES: usize = 10;

/// A registry in which each service is published by itself, as Consul's watches do.
#[derive(Debug)]
struct Published(HashMap<String, watch::Sender<Option<Arc<Snapshot>>>>);

impl Published {
    fn new(address: SocketAddr) -> Self {
        let service = |number: usize| {
            let name = format!("agent-{number}");
            let snapshot = Snapshot::of(&name, instances(&name, address));
            (name, watch::channel(Some(Arc::new(snapshot))).0)
        };
        Self((0..SERVICES).map(service).collect())
    }

    fn publish(&self, service: &str, instances: Vec<Instance>) {
        let snapshot = Snapshot::of(service, instances);
        self.0[service].send_replace(Some(Arc::new(snapshot)));
    }
}

fn instances(service: &str, address: SocketAddr) -> Vec<Instance> {
    let instance = |index: usize| Instance {
        key: InstanceKey {
            node: "node".into(),
            id: format!("{service}-{index}").into(),
        },
        service: service.into(),
        host: address.ip().to_string(),
        port: address.port(),
        tags: Vec::new(),
        meta: BTreeMap::new(),
        weight: 1,
        health: Health::Passing,
    };
    (0..INSTANCES).map(instance).collect()
}

#[async_trait::async_trait]
impl Discovery for Published {
    fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        watch::channel(None).1
    }

    fn watch(&self, service: &str) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.0[service].subscribe()
    }

    fn entries(&self) -> watch::Receiver<Option<Arc<discovery::KvEntries>>> {
        watch::channel(None).1
    }

    async fn write(&self, _: &str, _: Option<&str>) -> Result<(), discovery::Error> {
        Ok(())
    }

    async fn register(&self, _: &Registration) -> Result<(), discovery::Error> {
        Ok(())
    }

    async fn is_registered(&self, _: &str) -> Result<bool, discovery::Error> {
        Ok(true)
    }

    async fn deregister(&self, _: &str) -> Result<(), discovery::Error> {
        Ok(())
    }
}

/// A place for a call that comes alone, now.
fn attempt(mesh: &Mesh, target: &Target) -> Result<CallAttempt, Error> {
    let now = mesh.timestamp(Instant::now());
    mesh.pick(target, &[], &mut CallAffinity::default(), now)
}

/// The number, never given twice, of the endpoint that an instance is; none when it is not there.
fn endpoint(mesh: &Mesh, service: usize, index: usize) -> Option<u64> {
    let target = Target::service(&format!("agent-{service}"));
    let pinned = target.instance(&format!("agent-{service}-{index}"));
    Some(attempt(mesh, &pinned).ok()?.peer().number())
}

fn endpoints(mesh: &Mesh, service: usize) -> Vec<Option<u64>> {
    (0..INSTANCES).map(|i| endpoint(mesh, service, i)).collect()
}

#[tokio::test]
async fn ten_thousand_instances_cost_no_connection_and_an_update_touches_one_endpoint() {
    let (server, other) = (
        Server::start(handler(echo)).await,
        Server::start(handler(echo)).await,
    );
    let registry = Arc::new(Published::new(server.address));
    let mesh = Mesh::new(
        registry.clone(),
        ClusterOptions::default(),
        &MetricsRegistry::new(),
    );
    let before: Vec<_> = (0..SERVICES).map(|n| endpoints(&mesh, n)).collect();
    assert!(before.iter().flatten().all(Option::is_some));

    // One instance changes its weight, the next one's address changes, a third leaves.
    let mut changed = instances("agent-3", server.address);
    changed[0].weight = 7;
    changed[1].port = other.address.port();
    changed.remove(2);
    registry.publish("agent-3", changed);
    until("one has left", || endpoint(&mesh, 3, 2).is_none()).await;
    for service in (0..SERVICES).filter(|service| *service != 3) {
        assert_eq!(endpoints(&mesh, service), before[service], "{service}");
    }
    let after = endpoints(&mesh, 3);
    for index in [0].into_iter().chain(3..INSTANCES) {
        assert_eq!(after[index], before[3][index], "{index}");
    }
    assert!(after[1].is_some() && after[1] != before[3][1]);
    assert_eq!(server.connections() + other.connections(), 0, "no call");
}

/// One service of very many instances, of which each may have one call.
fn crowd(instances: usize) -> (Mesh, Vec<CallAttempt>) {
    let it = |index: usize| Instance {
        key: InstanceKey {
            node: "node".into(),
            id: format!("i{index}").into(),
        },
        port: 1,
        ..self::instances("agent-0", "127.0.0.1:1".parse().unwrap()).remove(0)
    };
    let snapshot = Snapshot::of("agent-0", (0..instances).map(it));
    let sender = watch::channel(Some(Arc::new(snapshot))).0;
    let registry = Published([("agent-0".to_owned(), sender)].into());
    let options = ClusterOptions {
        max_in_flight: 1,
        ..ClusterOptions::default()
    };
    let mesh = Mesh::new(Arc::new(registry), options, &MetricsRegistry::new());
    let target = Target::service("agent-0");
    let leases = (0..instances)
        .map(|_| attempt(&mesh, &target))
        .collect::<Result<_, _>>();
    let leases = leases.expect("each takes one call");
    (mesh, leases)
}

/// Looking each of them up among those that were tried would take half a minute.
#[tokio::test]
async fn the_last_free_one_of_twenty_thousand_instances_is_found() {
    let began = Instant::now();
    let (mesh, mut leases) = crowd(20_000);
    let target = Target::service("agent-0");
    let attempt = || attempt(&mesh, &target);
    for index in [3, 7_777, 19_000] {
        assert!(attempt().unwrap_err().is_transient());
        let free = leases.swap_remove(index).peer().number();
        let found = attempt().expect("one is free");
        assert_eq!(found.peer().number(), free);
        leases.push(found);
    }
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn connections_without_a_call_are_closed_and_opened_again() {
    let world = World::new(ClusterOptions {
        idle_timeout: 200 * MS,
        ..ClusterOptions::default()
    });
    let servers = world.start([handler(echo)]).await;
    world.tally(3).await;
    assert_eq!((servers[0].open(), servers[0].connections()), (1, 1));
    until("it is closed", || servers[0].open() == 0).await;
    world.tally(3).await;
    assert_eq!(servers[0].connections(), 2);
}

#[tokio::test]
async fn a_service_that_left_the_registry_is_not_watched_for_ever() {
    let server = Server::start(handler(echo)).await;
    let registry = Arc::new(Published::new(server.address));
    let options = ClusterOptions {
        idle_timeout: 200 * MS,
        ..ClusterOptions::default()
    };
    let mesh = Mesh::new(registry.clone(), options, &MetricsRegistry::new());
    let watched = |service: usize| registry.0[&format!("agent-{service}")].receiver_count();
    assert!(endpoint(&mesh, 3, 0).is_some() && endpoint(&mesh, 4, 0).is_some());
    registry.publish("agent-3", Vec::new());
    // While somebody asks for it, it may come back.
    for _ in 0..40 {
        tokio::time::sleep(10 * MS).await;
        assert_eq!(endpoint(&mesh, 3, 0), None);
        assert_eq!(watched(3), 1);
    }
    until("nobody watches it", || watched(3) == 0).await;
    assert_eq!(watched(4), 1);
    registry.publish("agent-3", instances("agent-3", server.address));
    assert!(endpoint(&mesh, 3, 0).is_some());
    assert_eq!(watched(3), 1);
}

#[tokio::test]
async fn a_call_that_lasts_keeps_its_connection() {
    let world = World::new(ClusterOptions {
        idle_timeout: 50 * MS,
        ..ClusterOptions::default()
    });
    let servers = world
        .start([crate::server::slow(Duration::from_millis(400))])
        .await;
    assert_eq!(world.call(Call::default()).await.unwrap().code(), 0);
    assert_eq!(servers[0].connections(), 1);
}
