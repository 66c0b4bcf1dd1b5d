//! What a large mesh costs: a pick, an update of one instance, and an idle instance's memory.
//!
//! `cargo run --release -p mesh-channel --example scale [POLICY]`

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use discovery::{
    Catalog, Discovery, Error, Health, Instance, InstanceKey, KvEntries, Registration, Snapshot,
};
use mesh_channel::{CallAffinity, ClusterOptions, Mesh, Target};
use tokio::{sync::watch, task::yield_now, time::Instant};

const PICKS: u32 = 1_000_000;
const UPDATES: usize = 200;

/// A registry in which each service is published by itself, as Consul's watches do.
#[derive(Debug)]
struct Published {
    services: HashMap<String, watch::Sender<Option<Arc<Snapshot>>>>,
}

impl Published {
    fn new(services: usize, instances: usize) -> Self {
        let service = |number: usize| {
            let name = format!("agent-{number}");
            let all = (0..instances).map(|index| instance(&name, index, 1));
            let snapshot = Snapshot::of(&name, all);
            (name, watch::channel(Some(Arc::new(snapshot))).0)
        };
        Self {
            services: (0..services).map(service).collect(),
        }
    }
}

fn instance(service: &str, index: usize, weight: u32) -> Instance {
    Instance {
        key: InstanceKey {
            node: "node-1".into(),
            id: format!("{service}-{index}").into(),
        },
        service: service.into(),
        host: "127.0.0.1".to_owned(),
        port: 1,
        tags: vec!["agent".to_owned()],
        meta: BTreeMap::from([
            ("version".to_owned(), "1.0.0".to_owned()),
            ("admin_port".to_owned(), "9090".to_owned()),
        ]),
        weight,
        health: Health::Passing,
    }
}

#[async_trait::async_trait]
impl Discovery for Published {
    fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        watch::channel(None).1
    }

    fn watch(&self, service: &str) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.services[service].subscribe()
    }

    fn entries(&self) -> watch::Receiver<Option<Arc<KvEntries>>> {
        watch::channel(None).1
    }

    async fn write(&self, _: &str, _: Option<&str>) -> Result<(), Error> {
        Ok(())
    }

    async fn register(&self, _: &Registration) -> Result<(), Error> {
        Ok(())
    }

    async fn is_registered(&self, _: &str) -> Result<bool, Error> {
        Ok(true)
    }

    async fn deregister(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!(
        "| services | instances of each | a pick, ns | a weight changes, µs | an instance leaves or comes, µs | idle, ‰ of a processor | bytes per idle instance |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (services, instances) in [(1, 10), (1, 1_000), (1, 10_000), (1_000, 10)] {
        measure(services, instances).await;
    }
}

async fn measure(services: usize, instances: usize) {
    let registry = Arc::new(Published::new(services, instances));
    let before = resident();
    let options = ClusterOptions {
        lb_policy: std::env::args().nth(1),
        ..ClusterOptions::default()
    };
    let mesh = Mesh::new(
        registry.clone(),
        options,
        &telemetry::MetricsRegistry::new(),
    );
    for name in registry.services.keys() {
        mesh.prepare(name);
    }
    let bytes = resident().saturating_sub(before) / (services * instances);
    let pick = picks(&mesh);
    let weight = updates(&registry, |snapshot, round| {
        let index = round * 7919 % instances;
        let changed = &mut snapshot.instances[index];
        *changed = Arc::new(Instance {
            weight: changed.weight + 1,
            ..Instance::clone(changed)
        });
    })
    .await;
    let mut gone = None;
    let member = updates(&registry, |snapshot, round| match gone.take() {
        Some((index, instance)) => snapshot.instances.insert(index, instance),
        None => {
            let index = round * 7919 % instances;
            gone = Some((index, snapshot.instances.remove(index)));
        }
    })
    .await;
    let began = processor();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = (processor() - began).as_secs_f64() * 1000.0 / 2.0;
    println!(
        "| {services} | {instances} | {pick} | {} | {} | {idle:.1} | {bytes} |",
        weight.as_micros(),
        member.as_micros()
    );
    drop(mesh);
    // Its tasks end before the next one's memory is measured.
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Nanoseconds for an instance to be chosen, counted and given back.
fn picks(mesh: &Mesh) -> u128 {
    let target = Target::service("agent-0");
    let began = Instant::now();
    let now = mesh.timestamp(began);
    for _ in 0..PICKS {
        let attempt = mesh.pick(&target, &[], &mut CallAffinity::default(), now);
        drop(attempt.expect("an idle instance takes a call"));
    }
    began.elapsed().as_nanos() / u128::from(PICKS)
}

/// How long a service takes to take over a change of its instances: the median.
async fn updates(registry: &Published, mut change: impl FnMut(&mut Snapshot, usize)) -> Duration {
    let sender = &registry.services["agent-0"];
    let mut times = Vec::new();
    for round in 0..UPDATES {
        let current = sender.borrow().clone().expect("it was published");
        let mut next = Snapshot::clone(&current);
        change(&mut next, round);
        sender.send_replace(Some(Arc::new(next)));
        let began = Instant::now();
        // There is one thread: the task that follows the service runs in between.
        yield_now().await;
        times.push(began.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

/// Time on a processor that this process has had.
fn processor() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = schedstat.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096
}
