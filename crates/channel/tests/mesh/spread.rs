//! Who gets the calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use discovery::{Catalog, Discovery, Registration, Snapshot};
use mesh_channel::{ClusterOptions, Error, Mesh, Target};
use telemetry::MetricsRegistry;
use tokio::sync::watch;

use crate::{
    server::{Server, echo, handler},
    support::{Call, MS, SERVICE, World, about, registration, until},
};

fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let pairs = expected.iter();
    pairs.map(|(id, n)| ((*id).to_owned(), *n)).collect()
}

#[tokio::test]
async fn nine_calls_on_three_instances_are_three_each() {
    let world = World::new(ClusterOptions::default());
    let _servers = world.start((0..3).map(|_| handler(echo))).await;
    let tally = world.tally(9).await;
    assert_eq!(tally, counts(&[("i0", 3), ("i1", 3), ("i2", 3)]));
}

#[tokio::test]
async fn clients_that_make_one_call_each_do_not_all_call_the_first_instance() {
    let servers = [
        Server::start(handler(echo)).await,
        Server::start(handler(echo)).await,
    ];
    let mut used = BTreeSet::new();
    // All alike by chance: once in 2^39 runs.
    for _ in 0..40 {
        let client = World::new(ClusterOptions::default());
        for (index, server) in servers.iter().enumerate() {
            let id = format!("i{index}");
            client.register(&id, server.address).await;
        }
        used.insert(client.call(Call::default()).await.unwrap().by);
    }
    assert_eq!(used.len(), 2);
}

#[tokio::test]
async fn weights_are_taken_over_while_calls_go_on() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start((0..2).map(|_| handler(echo))).await;
    assert_eq!(world.tally(8).await, counts(&[("i0", 4), ("i1", 4)]));
    for (first, expected) in [(3, (30, 10)), (1, (20, 20))] {
        let registration = Registration {
            weight_passing: first,
            ..registration("i0", servers[0].address)
        };
        world.memory.register(&registration).await.unwrap();
        world.until_registered("i0", |it| it.weight == first).await;
        let tally = world.tally(40).await;
        assert_eq!(tally, counts(&[("i0", expected.0), ("i1", expected.1)]));
    }
    assert_eq!(servers[0].connections(), 1, "the connection was kept");
}

#[tokio::test]
async fn the_announced_policy_is_taken_over_and_sessions_stay() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start((0..3).map(|_| handler(echo))).await;
    world.tally(3).await;
    assert!(!world.mesh.wants_session(SERVICE));
    for (index, server) in servers.iter().enumerate() {
        let mut registration = registration(&format!("i{index}"), server.address);
        let policy = ("lb_policy".to_owned(), "session".to_owned());
        registration.meta.extend([policy]);
        world.memory.register(&registration).await.unwrap();
    }
    until("the policy is session", || {
        world.mesh.wants_session(SERVICE)
    })
    .await;
    let mut used = BTreeSet::new();
    for session in 0..20 {
        let call = Call::default().session(&format!("s{session}"));
        let by = world.call(call.clone()).await.unwrap().by;
        for _ in 0..3 {
            assert_eq!(world.call(call.clone()).await.unwrap().by, by);
        }
        used.insert(by);
    }
    assert_eq!(used.len(), 3, "sessions are spread");
}

#[tokio::test]
async fn the_configured_policy_wins_over_the_announced_one() {
    let world = World::new(ClusterOptions {
        lb_policy: Some("session".to_owned()),
        ..ClusterOptions::default()
    });
    let _servers = world.start([handler(echo)]).await;
    // The very first call has to know it.
    assert!(world.mesh.wants_session(SERVICE));
}

#[tokio::test]
async fn a_service_without_instances_is_unavailable_at_once() {
    let world = World::new(ClusterOptions::default());
    let began = Instant::now();
    let error = world.call(Call::default()).await.unwrap_err();
    assert!(matches!(error, Error::NoInstance { .. }), "{error}");
    assert_eq!(error.status().code(), tonic::Code::Unavailable);
    assert!(began.elapsed() < 100 * MS);
}

#[tokio::test]
async fn a_pinned_instance_that_is_not_there_is_unavailable_at_once() {
    let world = World::new(ClusterOptions::default());
    let _servers = world.start([handler(echo)]).await;
    let error = world.call(Call::to("i7")).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchInstance { .. }), "{error}");
    assert_eq!(world.call(Call::to("i0")).await.unwrap().by, "i0");
}

/// A registry that has not answered yet.
#[derive(Debug)]
struct Unanswered(watch::Sender<Option<Arc<Snapshot>>>);

#[async_trait::async_trait]
impl Discovery for Unanswered {
    fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        watch::channel(None).1
    }

    fn watch(&self, _: &str) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.0.subscribe()
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

#[tokio::test]
async fn a_call_waits_for_the_registry_and_then_gives_up_or_goes() {
    let unanswered = Arc::new(Unanswered(watch::channel(None).0));
    let options = ClusterOptions {
        queue_timeout: 300 * MS,
        ..ClusterOptions::default()
    };
    let world = World {
        mesh: Mesh::new(unanswered.clone(), options, &MetricsRegistry::new()),
        ..World::new(ClusterOptions::default())
    };
    let began = Instant::now();
    let error = world.call(Call::default()).await.unwrap_err();
    assert!(matches!(error, Error::Undiscovered { .. }), "{error}");
    assert_eq!(error.status().code(), tonic::Code::Unavailable);
    assert!(about(began, 300 * MS), "{:?}", began.elapsed());

    let known = World::new(ClusterOptions::default());
    let server = Server::start(handler(echo)).await;
    known.register("i0", server.address).await;
    let snapshot = known.memory.watch(SERVICE).borrow().clone();
    let answer = async {
        tokio::time::sleep(100 * MS).await;
        unanswered.0.send_replace(snapshot);
    };
    let (outcome, ()) = tokio::join!(world.call(Call::default()), answer);
    assert_eq!(outcome.unwrap().by, "i0");
}

#[tokio::test]
async fn generated_clients_call_through_a_channel() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("x", tonic_health::ServingStatus::Serving)
        .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new(ClusterOptions::default());
    let address = listener.local_addr().unwrap();
    world.register("i0", address).await;
    let mut tasks = tokio::task::JoinSet::new();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(service);
    tasks.spawn(server.serve_with_incoming(incoming));
    let channel = world.mesh.channel(SERVICE).instance("i0").session("s");
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
    let mut check = async |service: &str| {
        let service = service.to_owned();
        let request = tonic_health::pb::HealthCheckRequest { service };
        client.check(request).await
    };
    assert_eq!(check("x").await.unwrap().into_inner().status, 1);
    let status = check("y").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert_eq!(Target::service("a").session(""), Target::service("a"));
}
