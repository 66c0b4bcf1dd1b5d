//! A directory of services that are really served.

use std::{net::SocketAddr, sync::Arc};

use discovery::{Health, Registration};
use mesh_directory::{DirectorySnapshot, Service};
use testkit::fixture::{Fixture, foreign, foreign_alpha, registration, with_meta};

fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 9).into()
}

fn names(services: &[Arc<Service>]) -> Vec<&str> {
    services.iter().map(|service| &*service.name).collect()
}

#[tokio::test]
async fn service_is_found_by_all_its_names() {
    let mesh = Fixture::new();
    let claimed = with_meta(
        registration("e1", "agent-echo", nowhere()),
        "public_id",
        "parrot",
    );
    mesh.register(claimed).await;
    mesh.register(registration("w1", "worker-itinerary", nowhere()))
        .await;
    mesh.register(registration("s1", "orders", nowhere())).await;
    let snapshot = mesh
        .until(|snapshot| snapshot.services().count() == 3 && snapshot.by_id("parrot").is_some());
    let snapshot = snapshot.await;
    for (id, name) in [
        ("agent-echo", "agent-echo"),
        ("echo-agent", "agent-echo"),
        ("parrot", "agent-echo"),
        ("itinerary-worker", "worker-itinerary"),
        ("orders", "orders"),
    ] {
        assert_eq!(&*snapshot.by_id(id).unwrap().name, name, "{id}");
    }
    assert!(snapshot.by_id("itinerary-agent").is_none());
    assert_eq!(
        &*snapshot.by_instance("w1").unwrap().0.name,
        "worker-itinerary"
    );
}

#[tokio::test]
async fn nobody_takes_a_name_that_is_anothers_by_right() {
    let mesh = Fixture::new();
    let thief = with_meta(
        registration("a1", "agent-a", nowhere()),
        "public_id",
        "echo-agent",
    );
    mesh.register(thief).await;
    let thief = with_meta(
        registration("b1", "agent-b", nowhere()),
        "public_id",
        "agent-echo",
    );
    mesh.register(thief).await;
    mesh.register(registration("e1", "agent-echo", nowhere()))
        .await;
    let snapshot = mesh
        .until(|snapshot| snapshot.by_instance("e1").is_some())
        .await;
    assert_eq!(&*snapshot.by_id("echo-agent").unwrap().name, "agent-echo");
    assert_eq!(&*snapshot.by_id("agent-echo").unwrap().name, "agent-echo");
}

#[tokio::test]
async fn routers_are_never_found() {
    let mesh = Fixture::new();
    let tagged = Registration {
        tags: vec!["router".into(), "grpc".into()],
        ..of("mcp-router")
    };
    mesh.register(tagged).await;
    mesh.register(with_meta(of("hidden-router"), "kind", "router"))
        .await;
    mesh.register(registration("e1", "agent-echo", nowhere()))
        .await;
    let snapshot = mesh
        .until(|snapshot| snapshot.ready() && snapshot.by_instance("e1").is_some())
        .await;
    assert!(snapshot.by_id("mcp-router").is_none());
    assert!(snapshot.by_id("hidden-router").is_none());
    assert!(snapshot.by_instance("hidden-router").is_none());
}

fn of(service: &str) -> Registration {
    registration(service, service, nowhere())
}

#[test]
fn name_is_found_before_its_instances_are_known() {
    let tags = ["agent".to_owned()];
    let service = Service::new(&"agent-echo".into(), &tags, None, &[], None);
    let snapshot = DirectorySnapshot::new([Arc::new(service)], false);
    assert_eq!(
        snapshot.by_id("echo-agent").unwrap().kind,
        discovery::ServiceKind::Agent
    );
    assert!(!snapshot.by_id("echo-agent").unwrap().is_serving());
}

#[tokio::test]
async fn announced_services_are_those_of_meta() {
    let mesh = Fixture::new();
    let announce = |id: &str, service: &str, names: &str| {
        with_meta(registration(id, service, nowhere()), "grpc_services", names)
    };
    mesh.register(announce(
        "o1",
        "orders",
        "shop.Orders, grpc.health.v1.Health",
    ))
    .await;
    mesh.register(announce("p1", "old-orders", "shop.Orders,shop.Old"))
        .await;
    let snapshot = mesh
        .until(|snapshot| snapshot.by_grpc_service("shop.Orders").len() == 2)
        .await;
    assert_eq!(
        names(snapshot.by_grpc_service("shop.Orders")),
        ["old-orders", "orders"]
    );
    assert_eq!(names(snapshot.by_grpc_service("shop.Old")), ["old-orders"]);
    assert!(snapshot.by_grpc_service("grpc.health.v1.Health").is_empty());
    assert_eq!(
        snapshot.grpc_services().collect::<Vec<_>>(),
        ["shop.Old", "shop.Orders"]
    );

    mesh.memory.set_health("p1", Health::Critical);
    let snapshot = mesh
        .until(|snapshot| snapshot.by_grpc_service("shop.Orders").len() == 1)
        .await;
    assert_eq!(names(snapshot.by_grpc_service("shop.Orders")), ["orders"]);
    assert_eq!(
        names(snapshot.by_grpc_service("shop.Old")),
        ["old-orders"],
        "unavailable, not unknown"
    );
    mesh.memory.set_health("o1", Health::Critical);
    mesh.until(|snapshot| snapshot.by_grpc_service("shop.Orders").len() == 2)
        .await;
    mesh.memory.clear();
    mesh.until(|snapshot| snapshot.by_grpc_service("shop.Orders").is_empty())
        .await;
}

#[tokio::test]
async fn reflection_tells_what_meta_does_not() {
    let mut mesh = Fixture::new();
    for (service, routes) in [
        ("orders", foreign("shop.Orders")),
        ("bills", foreign_alpha("bank.Bills")),
    ] {
        let address = mesh.serve(routes).await;
        mesh.register(registration(service, service, address)).await;
    }
    let plain = mesh.serve(tonic::service::Routes::default()).await;
    mesh.register(registration("plain", "plain", plain)).await;
    let snapshot = mesh.until(DirectorySnapshot::ready).await;
    assert_eq!(
        snapshot.grpc_services().collect::<Vec<_>>(),
        ["bank.Bills", "shop.Orders"]
    );
    let bills = snapshot.by_id("bills").unwrap();
    let descriptors = mesh.directory.descriptors(bills).await.unwrap();
    assert!(descriptors.file_containing("bank.Bills.Place").is_some());
    assert!(
        descriptors.file("common.proto").is_some(),
        "imports come along"
    );
}

#[tokio::test]
async fn service_that_changes_is_asked_again() {
    let mut mesh = Fixture::new();
    let address = mesh.serve(foreign("shop.Orders")).await;
    mesh.register(registration("o1", "orders", address)).await;
    mesh.until(|snapshot| !snapshot.by_grpc_service("shop.Orders").is_empty())
        .await;
    let address = mesh.serve(foreign("shop.NewOrders")).await;
    mesh.register(registration("o2", "orders", address)).await;
    mesh.memory.remove("o1");
    let snapshot = mesh
        .until(|snapshot| !snapshot.by_grpc_service("shop.NewOrders").is_empty())
        .await;
    assert!(snapshot.by_grpc_service("shop.Orders").is_empty());
}

#[tokio::test]
async fn instance_that_does_not_answer_at_first_is_asked_on() {
    let mut mesh = Fixture::new();
    mesh.register(registration("o1", "orders", nowhere())).await;
    mesh.until(DirectorySnapshot::ready).await;
    let address = mesh.serve(foreign("shop.Orders")).await;
    mesh.register(registration("o2", "orders", address)).await;
    mesh.until(|snapshot| !snapshot.by_grpc_service("shop.Orders").is_empty())
        .await;
}

#[tokio::test]
async fn version_is_that_of_most_instances() {
    let mesh = Fixture::new();
    for (id, version) in [
        ("e1", "1"),
        ("e2", "2"),
        ("e3", "2"),
        ("e4", "1"),
        ("e5", "1"),
    ] {
        mesh.register(with_meta(
            registration(id, "agent-echo", nowhere()),
            "version",
            version,
        ))
        .await;
    }
    let version =
        |snapshot: &DirectorySnapshot| snapshot.by_id("echo-agent").map(|it| it.version.clone());
    mesh.until(|snapshot| version(snapshot).as_deref() == Some("1"))
        .await;
    mesh.memory.set_health("e4", Health::Critical);
    mesh.until(|snapshot| version(snapshot).as_deref() == Some("2"))
        .await;
}

/// Two builds may have one version: the newcomer may serve what the others do not.
#[tokio::test]
async fn descriptors_are_asked_again_when_another_build_of_the_same_version_joins() {
    let mut mesh = Fixture::new();
    let of_version = |registration| with_meta(registration, "version", "1");
    let address = mesh.serve(foreign("shop.Orders")).await;
    mesh.register(of_version(registration("o1", "orders", address)))
        .await;
    let snapshot = mesh.until(DirectorySnapshot::ready).await;
    let descriptors = mesh
        .directory
        .descriptors(snapshot.by_id("orders").unwrap());
    assert!(
        descriptors
            .await
            .unwrap()
            .file_containing("shop.Orders")
            .is_some()
    );

    let address = mesh.serve(foreign("shop.NewOrders")).await;
    mesh.register(of_version(registration("o2", "orders", address)))
        .await;
    let snapshot = mesh
        .until(|snapshot| snapshot.by_instance("o2").is_some())
        .await;
    let descriptors = mesh
        .directory
        .descriptors(snapshot.by_id("orders").unwrap());
    assert!(
        descriptors
            .await
            .unwrap()
            .file_containing("shop.NewOrders")
            .is_some()
    );

    // A check that fails and passes makes no other code.
    let generation = snapshot.by_id("orders").unwrap().generation.clone();
    mesh.memory.set_health("o1", Health::Critical);
    let snapshot = mesh
        .until(|snapshot| !snapshot.by_instance("o1").unwrap().1.is_serving())
        .await;
    assert_eq!(snapshot.by_id("orders").unwrap().generation, generation);
    // One that was gone and is back under its ID may be of another build.
    mesh.memory.set_health("o1", Health::Passing);
    let snapshot = mesh
        .until(|snapshot| snapshot.by_instance("o1").unwrap().1.is_serving())
        .await;
    let orders = snapshot.by_id("orders").unwrap();
    assert_ne!(orders.generation, generation);
    assert_eq!(&*orders.newest().unwrap().key.id, "o1");
}

#[test]
fn a_name_under_which_there_are_proxies_alone_is_no_service() {
    let tags = ["grpc".to_owned()];
    let of = |excluded: usize| {
        let snapshot = discovery::Snapshot {
            excluded,
            ..discovery::Snapshot::empty("side")
        };
        let service = Service::new(&"side".into(), &tags, Some(Arc::new(snapshot)), &[], None);
        DirectorySnapshot::new([Arc::new(service)], true)
    };
    assert!(of(0).by_id("side").is_some(), "an instance may come yet");
    assert!(of(1).by_id("side").is_none());
}
