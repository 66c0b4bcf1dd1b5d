//! The Kubernetes backend against an API server that can fail in every way.

mod fake;

use std::{sync::Arc, time::Duration};

use fake::{FakeApi, SERVICES, SETTINGS, SLICES, until};
use mesh_discovery::{
    Catalog, Discovery, Error, Snapshot,
    backends::{Kubernetes, KubernetesOptions},
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

const SECOND: Duration = Duration::from_secs(1);

type Receiver = watch::Receiver<Option<Arc<Snapshot>>>;

fn kubernetes(api: &FakeApi) -> Kubernetes {
    let options = KubernetesOptions {
        namespace: Some("mesh".to_owned()),
        ..KubernetesOptions::at(api.url())
    };
    Kubernetes::new(options).expect("usable options")
}

fn service(api: &FakeApi, name: &str) {
    let labels = json!({ "mesh/kind": "agent" });
    api.put(SERVICES, name, json!({ "metadata": { "labels": labels } }));
}

/// A slice of `service` with these endpoints, each with its conditions.
fn slice(api: &FakeApi, service: &str, name: &str, endpoints: &[(String, Value)]) {
    let endpoints = endpoints
        .iter()
        .map(|(address, conditions)| json!({ "addresses": [address], "conditions": conditions }));
    api.put(
        SLICES,
        name,
        json!({
            "metadata": { "labels": { "kubernetes.io/service-name": service } },
            "addressType": "IPv4",
            "ports": [{ "name": "grpc", "port": 50052 }],
            "endpoints": endpoints.collect::<Vec<_>>(),
        }),
    );
}

fn ready(addresses: impl IntoIterator<Item = String>) -> Vec<(String, Value)> {
    addresses
        .into_iter()
        .map(|it| (it, json!({ "ready": true })))
        .collect()
}

fn serving(receiver: &Receiver) -> usize {
    let snapshot = receiver.borrow().clone();
    snapshot.map_or(0, |snapshot| snapshot.serving().count())
}

async fn seen(receiver: &mut Receiver, count: usize) {
    let all = |now: &Option<Arc<Snapshot>>| {
        now.as_ref()
            .is_some_and(|now| now.serving().count() == count)
    };
    let waited = timeout(SECOND * 10, receiver.wait_for(all)).await.is_ok();
    assert!(waited, "{count} are not seen: {:?}", receiver.borrow());
}

fn names(catalog: &watch::Receiver<Option<Arc<Catalog>>>) -> Vec<String> {
    let catalog = catalog.borrow().clone().expect("known");
    catalog.services.keys().map(ToString::to_string).collect()
}

#[tokio::test]
async fn all_slices_of_a_service_are_one_set_and_a_new_endpoint_is_there_at_once() {
    let api = FakeApi::start().await;
    api.set_page(1);
    service(&api, "agent-echo");
    service(&api, "agent-other");
    for part in 0..3 {
        let addresses = (0..if part == 2 { 50 } else { 100 }).map(|n| format!("10.0.{part}.{n}"));
        let name = format!("agent-echo-{part}");
        slice(&api, "agent-echo", &name, &ready(addresses));
    }
    let kubernetes = kubernetes(&api);
    let mut echo = kubernetes.watch("agent-echo");
    seen(&mut echo, 250).await;
    assert_eq!(names(&kubernetes.catalog()), ["agent-echo", "agent-other"]);
    assert_eq!(api.lists(SLICES), 3, "a page each");
    until("watched", || api.watches(SLICES).0 == 1).await;
    let began = Instant::now();
    slice(
        &api,
        "agent-echo",
        "agent-echo-3",
        &ready(["10.0.9.1".to_owned()]),
    );
    seen(&mut echo, 251).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    api.delete(SLICES, "agent-echo-0");
    seen(&mut echo, 151).await;
    api.delete(SERVICES, "agent-echo");
    seen(&mut echo, 0).await;
    assert_eq!(names(&kubernetes.catalog()), ["agent-other"]);
}

#[tokio::test]
async fn a_terminating_endpoint_is_known_and_gets_no_calls() {
    let api = FakeApi::start().await;
    service(&api, "agent-echo");
    slice(
        &api,
        "agent-echo",
        "a",
        &ready((1..=2).map(|n| format!("10.0.0.{n}"))),
    );
    let kubernetes = kubernetes(&api);
    let mut echo = kubernetes.watch("agent-echo");
    seen(&mut echo, 2).await;
    let leaving = json!({ "ready": false, "serving": true, "terminating": true });
    let mut endpoints = ready((1..=2).map(|n| format!("10.0.0.{n}")));
    endpoints[0].1 = leaving;
    slice(&api, "agent-echo", "a", &endpoints);
    seen(&mut echo, 1).await;
    let known = echo.borrow().clone().unwrap();
    assert_eq!(known.instances.len(), 2, "its calls go on");
    // Also when an outage comes in between.
    api.answer(SLICES, 500, "away");
    until("away", || kubernetes.last_error().is_some()).await;
    slice(&api, "agent-echo", "a", &endpoints[..1]);
    api.heal(SLICES);
    until("back", || kubernetes.last_error().is_none()).await;
    assert_eq!(
        serving(&echo),
        1,
        "what is missing is kept, what terminates gets no calls"
    );
}

#[tokio::test]
async fn a_version_that_is_gone_is_listed_again_and_nothing_is_missed() {
    let api = FakeApi::start().await;
    service(&api, "agent-echo");
    slice(&api, "agent-echo", "a", &ready(["10.0.0.1".to_owned()]));
    let kubernetes = kubernetes(&api);
    let mut echo = kubernetes.watch("agent-echo");
    seen(&mut echo, 1).await;
    until("watched", || api.watches(SLICES).0 == 1).await;
    let lists = api.lists(SLICES);
    // What was removed without an event is gone at once: this is no outage.
    api.lose(SLICES, "a");
    slice(
        &api,
        "agent-echo",
        "b",
        &ready((2..=3).map(|n| format!("10.0.0.{n}"))),
    );
    api.compact();
    until("listed again", || api.lists(SLICES) > lists).await;
    seen(&mut echo, 2).await;
    assert!(kubernetes.last_error().is_none());
}

#[tokio::test]
async fn a_watch_that_is_cut_goes_on_from_its_bookmark() {
    let api = FakeApi::start().await;
    service(&api, "agent-echo");
    let kubernetes = kubernetes(&api);
    let mut echo = kubernetes.watch("agent-echo");
    seen(&mut echo, 0).await;
    until("watched", || api.watches(SLICES).0 == 1).await;
    for round in 1..=5 {
        let at = api.bookmark(SLICES);
        sleep(SECOND / 20).await;
        api.cut();
        until("watched from the bookmark", || api.watches(SLICES).1 == at).await;
        slice(
            &api,
            "agent-echo",
            &format!("s{round}"),
            &ready([format!("10.0.0.{round}")]),
        );
        seen(&mut echo, round).await;
    }
    assert_eq!(api.lists(SLICES), 1, "it never had to list again");
    assert!(kubernetes.last_error().is_none());
}

#[tokio::test]
async fn garbage_in_a_watch_is_listed_over() {
    let api = FakeApi::start().await;
    service(&api, "agent-echo");
    slice(&api, "agent-echo", "a", &ready(["10.0.0.1".to_owned()]));
    let kubernetes = kubernetes(&api);
    let mut echo = kubernetes.watch("agent-echo");
    seen(&mut echo, 1).await;
    for garbage in [
        "{",
        "\u{0}\u{1}",
        "[]",
        r#"{"type": "ERROR", "object": {}}"#,
        r#"{"type": "ADDED", "object": 7}"#,
        r#"{"type": "ADDED", "object": {"metadata": {"name": "x", "labels": 3}}}"#,
        r#"{"type": "MODIFIED", "object": {"metadata": {"name": "x"}, "endpoints": "none"}}"#,
        r#"{"type": "NEWS", "object": {}}"#,
    ] {
        until("watched", || api.watches(SLICES).0 > 0).await;
        api.line(SLICES, garbage);
        sleep(SECOND / 20).await;
        assert_eq!(serving(&echo), 1, "{garbage}");
    }
    slice(&api, "agent-echo", "b", &ready(["10.0.0.2".to_owned()]));
    seen(&mut echo, 2).await;
    until("well again", || kubernetes.last_error().is_none()).await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_left_out_and_told() {
    let api = FakeApi::start().await;
    service(&api, "agent-echo");
    let odd = json!({ "metadata": { "labels": { "mesh/kind": "robot" } } });
    api.put(SERVICES, "agent-odd", odd);
    api.put(SLICES, "odd", json!({ "metadata": {}, "endpoints": 7 }));
    slice(
        &api,
        "agent-echo",
        "a",
        &ready(["10.0.0.1".to_owned(), "0.0.0.0".to_owned()]),
    );
    let kubernetes = kubernetes(&api);
    let mut echo = kubernetes.watch("agent-echo");
    seen(&mut echo, 1).await;
    assert_eq!(names(&kubernetes.catalog()), ["agent-echo"]);
    let told: Vec<_> = kubernetes
        .status()
        .left_out
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told.iter().any(|text| text.contains("agent, tool, worker")),
        "{told:?}"
    );
    service(&api, "agent-odd");
    until("told no longer", || kubernetes.status().left_out.len() == 2).await;
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_and_nothing_is_known_before_it_is_given() {
    let api = FakeApi::start().await;
    service(&api, "agent-echo");
    let words = r#"{"kind": "Status", "code": 403, "message": "endpointslices is forbidden: User \"x\" cannot list"}"#;
    api.answer(SLICES, 403, words);
    let kubernetes = kubernetes(&api);
    let mut catalog = kubernetes.catalog();
    until("refused", || kubernetes.last_error().is_some()).await;
    let error = kubernetes.last_error().expect("refused");
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    let told = error.to_string();
    for part in [
        "User \"x\" cannot list",
        "403",
        "list and watch of endpointslices",
        "namespace mesh",
    ] {
        assert!(told.contains(part), "{told}");
    }
    sleep(SECOND / 5).await;
    assert!(catalog.borrow().is_none(), "no half of the mesh");
    api.heal(SLICES);
    let known = timeout(SECOND * 10, catalog.wait_for(Option::is_some)).await;
    assert!(known.is_ok());
    until("told no longer", || kubernetes.status().error.is_none()).await;
}

#[tokio::test]
async fn while_the_api_server_is_away_the_last_known_set_stays() {
    let mut api = FakeApi::start().await;
    service(&api, "agent-echo");
    for n in 1..=2 {
        slice(
            &api,
            "agent-echo",
            &format!("s{n}"),
            &ready([format!("10.0.0.{n}")]),
        );
    }
    let kubernetes = kubernetes(&api);
    let mut echo = kubernetes.watch("agent-echo");
    seen(&mut echo, 2).await;
    api.stop().await;
    until("away", || {
        matches!(kubernetes.last_error(), Some(Error::Unreachable { .. }))
    })
    .await;
    assert_eq!(serving(&echo), 2);
    // It comes back without one slice and without the Service, and with a new endpoint.
    api.lose(SLICES, "s1");
    api.lose(SERVICES, "agent-echo");
    slice(&api, "agent-echo", "s3", &ready(["10.0.0.3".to_owned()]));
    let watched = api.watches(SLICES).0;
    api.restart().await;
    until("back", || kubernetes.last_error().is_none()).await;
    seen(&mut echo, 3).await;
    assert_eq!(names(&kubernetes.catalog()), ["agent-echo"]);
    // What is removed after that is believed.
    until("watched", || api.watches(SLICES).0 > watched).await;
    api.delete(SLICES, "s3");
    seen(&mut echo, 2).await;
}

#[tokio::test]
async fn the_config_map_is_the_settings() {
    let api = FakeApi::start().await;
    let kubernetes = kubernetes(&api);
    let mut entries = kubernetes.entries();
    let empty = timeout(SECOND * 10, entries.wait_for(Option::is_some)).await;
    assert!(empty.unwrap().unwrap().as_ref().unwrap().values.is_empty());
    assert_eq!(
        api.lists(SERVICES),
        0,
        "who asks for settings needs no other right"
    );
    let data = json!({
        "services.agent-echo.lb_policy": " round_robin\n",
        "instances.echo-0.drain": "true",
    });
    api.put(
        SETTINGS,
        "mesh-settings",
        json!({ "metadata": {}, "data": data }),
    );
    api.put(
        SETTINGS,
        "other",
        json!({ "metadata": {}, "data": { "a": "b" } }),
    );
    let known = entries.wait_for(|now| now.as_ref().is_some_and(|now| !now.values.is_empty()));
    let known = timeout(SECOND * 10, known)
        .await
        .unwrap()
        .unwrap()
        .clone()
        .unwrap();
    assert_eq!(
        &*known.values["services/agent-echo/lb_policy"],
        "round_robin"
    );
    assert_eq!(known.drained().collect::<Vec<_>>(), ["echo-0"]);
    assert_eq!(known.values.len(), 2);
    api.delete(SETTINGS, "mesh-settings");
    let none = entries.wait_for(|now| now.as_ref().is_some_and(|now| now.values.is_empty()));
    assert!(timeout(SECOND * 10, none).await.is_ok());
    kubernetes
        .write("instances/echo-1/drain", Some("true"))
        .await
        .unwrap();
    let (method, path, body) = api.written().pop().expect("written");
    assert_eq!(method, "PATCH");
    assert!(
        path.ends_with("/namespaces/mesh/configmaps/mesh-settings"),
        "{path}"
    );
    assert_eq!(body, r#"{"data":{"instances.echo-1.drain":"true"}}"#);
}

#[tokio::test]
async fn programs_register_nothing_and_ask_nothing_until_they_look_for_others() {
    let api = FakeApi::start().await;
    let kubernetes = kubernetes(&api);
    let registration = mesh_discovery::Registration {
        id: "echo-0".to_owned(),
        service: "agent-echo".to_owned(),
        host: "10.0.0.1".to_owned(),
        port: 50052,
        tags: Vec::new(),
        meta: std::collections::BTreeMap::new(),
        weight_passing: 1,
        weight_warning: 1,
        check: mesh_discovery::Check::Grpc,
        check_interval: SECOND,
        deregister_after: SECOND,
    };
    kubernetes.register(&registration).await.unwrap();
    assert!(kubernetes.is_registered("echo-0").await.unwrap());
    kubernetes
        .deregister_duplicates(&registration)
        .await
        .unwrap();
    kubernetes.deregister("echo-0").await.unwrap();
    assert!(!kubernetes.is_registered("echo-0").await.unwrap());
    let nothing = [SERVICES, SLICES, SETTINGS]
        .iter()
        .all(|resource| api.lists(resource) == 0);
    assert!(nothing && api.written().is_empty());
    assert!(kubernetes.last_error().is_none());
}
