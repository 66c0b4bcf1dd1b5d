//! The mesh with a real API server of Kubernetes in place of Consul. `make test-kubernetes` starts it,
//! applies the manifests of `deploy/kubernetes`, and runs these tests one after the other.
//!
//! There is no kubelet and no network of pods. Most tests write the EndpointSlices themselves, as the
//! controller would, and start the programs that they point at; one has the real controllers do it. The API server refuses loopback addresses, so
//! the programs are on 10.99.0.0/16, which is all this machine's in the test's network.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod kubelet;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use api::{
    Api, Pod, Pods, SECOND, address, by_pod, echo, name, pods, readyz, slices_path, used_after,
};
use kubelet::Kubelet;
use mesh_testkit::{Load, Program, Signal, http_client, load, until};
use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

#[tokio::test]
#[ignore = "needs kube-apiserver: make test-kubernetes"]
async fn a_token_without_rights_is_told_and_the_one_that_replaces_it_is_used() {
    let api = Api::connect().await;
    let token = api.folder.join("rotated");
    fs::write(&token, api.token("nobody").await).unwrap();
    let router = Program::start("mcp-router", &api.env("rotated")).await;
    let told = until("the missing right is told", SECOND * 10, async || {
        let (code, text) = readyz(&router).await;
        (code == 503 && text.contains("forbidden")).then_some(text)
    })
    .await;
    println!("{told}");
    assert!(
        told.contains("give the ServiceAccount a Role in namespace mesh with list and watch of")
    );
    fs::write(&token, api.token("mesh").await).unwrap();
    until("the new token is used", SECOND * 10, async || {
        (readyz(&router).await.0 == 200).then_some(())
    })
    .await;
    // A token that is no token of this cluster.
    fs::write(&token, "none").unwrap();
    let other = Program::start("mcp-router", &api.env("rotated")).await;
    until("the token is told", SECOND * 10, async || {
        readyz(&other)
            .await
            .1
            .contains("is not valid here")
            .then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs kube-apiserver: make test-kubernetes"]
async fn a_new_endpoint_is_used_within_a_second_also_as_one_of_250_in_three_slices() {
    let api = Api::connect().await;
    let _echo = echo("0.0.0.0".to_owned(), "0s").await;
    api.slice("agent-echo-1", &pods([1])).await;
    let router = api.router().await;
    load::wait_answered(router.grpc).await;
    let second = async { api.slice("agent-echo-1", &pods([1, 2])).await };
    println!(
        "a second endpoint: used after {:?}",
        used_after(router.grpc, &name(2), second).await
    );
    api.slice("agent-echo-1", &pods(1..=100)).await;
    api.slice("agent-echo-2", &pods(101..=200)).await;
    let rest = async { api.slice("agent-echo-3", &pods(201..=250)).await };
    println!(
        "the 250th endpoint: used after {:?}",
        used_after(router.grpc, &name(250), rest).await
    );
    let calls = Load::start(router.grpc, 500, 5000).finish().await;
    assert_eq!(
        by_pod(&calls).len(),
        250,
        "every endpoint of the three slices takes calls"
    );
    let more = async { api.slice("agent-echo-3", &pods(201..=251)).await };
    println!(
        "the 251st endpoint: used after {:?}",
        used_after(router.grpc, &name(251), more).await
    );
    // A slice that is gone takes its endpoints with it.
    api.send(Method::DELETE, &slices_path("agent-echo-1"), None)
        .await;
    sleep(SECOND).await;
    let calls = Load::start(router.grpc, 500, 2000).finish().await;
    let others: BTreeSet<String> = (101..=251).map(name).collect();
    assert!(by_pod(&calls).keys().all(|pod| others.contains(*pod)));
}

#[tokio::test]
#[ignore = "needs kube-apiserver: make test-kubernetes"]
async fn no_call_of_ten_thousand_is_lost_while_endpoints_terminate() {
    const PODS: usize = 4;
    let api = Api::connect().await;
    let mut running = BTreeMap::new();
    for n in 1..=PODS {
        running.insert(n, echo(address(n), "50ms").await);
    }
    let mut known = pods(1..=PODS);
    api.slice("agent-echo-1", &known).await;
    let router = api.router().await;
    load::wait_answered(router.grpc).await;
    let load = Load::start(router.grpc, 200, 10_000);
    let mut marked = BTreeMap::new();
    // A rolling update, two pods at a time.
    for first in [1, 3] {
        let (old, new) = ([first, first + 1], [first + PODS, first + PODS + 1]);
        for n in new {
            running.insert(n, echo(address(n), "50ms").await);
        }
        known.extend(pods(new));
        api.slice("agent-echo-1", &known).await;
        sleep(SECOND).await;
        for n in old {
            running.get_mut(&n).unwrap().signal(Signal::Terminate);
        }
        // The kubelet tells the pod before the controller has told the API server.
        sleep(SECOND / 2).await;
        for n in old {
            known.get_mut(&name(n)).unwrap().1 = Pod::Terminating;
        }
        api.slice("agent-echo-1", &known).await;
        for n in old {
            marked.insert(name(n), Instant::now());
        }
        for n in old {
            let mut pod = running.remove(&n).unwrap();
            until("the pod ends", SECOND * 30, async || {
                pod.process.exit_status()
            })
            .await;
            known.remove(&name(n));
        }
        api.slice("agent-echo-1", &known).await;
    }
    let calls = load.finish().await;
    let count = by_pod(&calls);
    println!("{count:?}");
    assert_eq!(calls.len(), 10_000);
    assert_eq!(count.len(), 2 * PODS, "every pod took calls");
    for call in &calls {
        let pod = call.outcome.as_ref().unwrap();
        let late = marked.get(pod).is_some_and(|at| call.sent > *at + SECOND);
        assert!(!late, "{pod} got a call a second after it was terminating");
    }
}

#[tokio::test]
#[ignore = "needs kube-apiserver: make test-kubernetes"]
async fn settings_of_the_config_map_take_effect() {
    let api = Api::connect().await;
    let _echo = echo("0.0.0.0".to_owned(), "0s").await;
    api.slice("agent-echo-1", &pods(1..=3)).await;
    let router = api.router().await;
    load::wait_answered(router.grpc).await;
    let before = Load::start(router.grpc, 300, 300).finish().await;
    assert_eq!(by_pod(&before).len(), 3);
    let data = json!({
        "instances.echo-agent-2.drain": "true",
        "services.agent-echo.lb_policy": "round_robin",
        "services.agent-echo.lb_polcy": "x",
    });
    api.merge("configmaps/mesh-settings", &json!({ "data": data }))
        .await;
    let config = format!("http://{}/config", router.admin);
    let shown = until("the setting is shown", SECOND * 2, async || {
        let config = http_client::json(&config).await?;
        config.to_string().contains("round_robin").then_some(config)
    })
    .await;
    assert!(
        shown.to_string().contains("lb_polcy"),
        "a mistake is told: {shown}"
    );
    let after = Load::start(router.grpc, 300, 600).finish().await;
    let count = by_pod(&after);
    assert_eq!(
        count.keys().copied().collect::<Vec<_>>(),
        ["echo-agent-1", "echo-agent-3"]
    );
    assert!(
        count.values().all(|calls| *calls == 300),
        "in turn: {count:?}"
    );
    api.merge("configmaps/mesh-settings", &json!({ "data": null }))
        .await;
    until("the pod is used again", SECOND * 5, async || {
        let calls = Load::start(router.grpc, 300, 60).finish().await;
        (by_pod(&calls).len() == 3).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs kube-apiserver: make test-kubernetes"]
async fn a_session_of_mcp_goes_on_at_every_gateway() {
    const HTTP: u16 = 8080;
    let api = Api::connect().await;
    let folder = tempfile::tempdir().unwrap();
    let rights = api.rights().await;
    let pods: Pods = ["mesh-gateway-1", "mesh-gateway-2"]
        .into_iter()
        .zip(900..)
        .map(|(pod, number)| (pod.to_owned(), (address(number), Pod::Ready)))
        .collect();
    let mut gateways = Vec::new();
    for (pod, (address, _)) in &pods {
        // Without Redis a session is nowhere but at its gateway.
        let own = [
            ("KUBERNETES_POD", pod.clone()),
            ("LISTEN_ADDRESS", address.clone()),
            ("GATEWAY_PORT", HTTP.to_string()),
            ("JOBS_PATH", folder.path().join(pod).display().to_string()),
        ];
        gateways.push(Program::start("mesh-gateway", &[&rights[..], &own].concat()).await);
    }
    api.slice_of("mesh-gateway", "mesh-gateway-1", ("http", HTTP), &pods)
        .await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |gateway: &Program, session: Option<&str>, message: serde_json::Value| {
        let mut request = http
            .post(format!("http://{}/mcp", gateway.grpc))
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        request.body(message.to_string()).send().await.unwrap()
    };
    let begin = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" } }});
    let begun = post(&gateways[0], None, begin).await;
    let session = begun.headers()["mcp-session-id"].to_str().unwrap();
    let ping = || json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    until("the other gateway passes it on", SECOND * 10, async || {
        let answer = post(&gateways[1], Some(session), ping()).await;
        (answer.status() == 200).then_some(())
    })
    .await;
    let unknown = post(&gateways[1], Some("none"), ping()).await;
    assert_eq!(unknown.status(), 404);
    // No gateway is a service that calls are routed to.
    let router = api.router().await;
    let (_, ready) = readyz(&router).await;
    assert!(!ready.contains("mesh-gateway"), "{ready}");
}

#[tokio::test]
#[ignore = "needs kube-apiserver: make test-kubernetes"]
async fn a_rolling_update_by_the_real_controllers_loses_no_call() {
    let api = Api::connect().await;
    let mut kubelet = Kubelet::start(&api).await;
    kubelet.scale(4).await;
    let before = kubelet.names();
    let router = api.router().await;
    until("a call is answered", SECOND * 10, async || {
        load::call(&mut load::client(router.grpc), 1).await.ok()
    })
    .await;
    let load = Load::start(router.grpc, 200, 10_000);
    // What `kubectl rollout restart` does.
    let began = Instant::now();
    let annotations = json!({ "kubectl.kubernetes.io/restartedAt": "now" });
    let change = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
    kubelet.change(&change, 4).await;
    println!("four pods are replaced after {:?}", began.elapsed());
    let after = kubelet.names();
    assert!(before.is_disjoint(&after));
    let calls = load.finish().await;
    let count = by_pod(&calls);
    println!("{count:?}");
    assert_eq!(calls.len(), 10_000);
    let took: BTreeSet<String> = count.keys().map(ToString::to_string).collect();
    assert!(
        before.is_subset(&took) && after.is_subset(&took),
        "every pod took calls"
    );
    kubelet.scale(0).await;
}

#[tokio::test]
#[ignore = "needs kube-apiserver: make test-kubernetes"]
async fn an_api_server_that_is_silent_costs_no_call() {
    let api = Api::connect().await;
    let _echo = echo("0.0.0.0".to_owned(), "0s").await;
    api.slice("agent-echo-1", &pods(1..=3)).await;
    let router = api.router().await;
    load::wait_answered(router.grpc).await;
    let load = Load::start(router.grpc, 200, 5000);
    api.signal("-STOP");
    sleep(SECOND * 20).await;
    api.signal("-CONT");
    let more = async { api.slice("agent-echo-1", &pods(1..=4)).await };
    let used = used_after(router.grpc, &name(4), more).await;
    println!("after a silence of 20 s: used after {used:?}");
    let calls = load.finish().await;
    assert_eq!(by_pod(&calls).values().sum::<usize>(), 5000);
    assert_eq!(readyz(&router).await.0, 200);
}
