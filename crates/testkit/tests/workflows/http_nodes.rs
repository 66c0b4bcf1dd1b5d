//! Nodes that ask servers outside the mesh.

use mesh_testkit::WebServer;
use serde_json::{Value, json};
use workflow::{EventKind, NodeStatus, RunStatus};

use crate::support::{Mesh, graph, output, status, task};

/// A server that answers with the status that a path names, `/503`, and with 200 from the third request on.
async fn server() -> WebServer {
    WebServer::start(|path, before| match path.trim_matches('/').parse() {
        Ok(code) if before < 2 => (code, json!({"code": code, "score": 7}).to_string()),
        _ => (200, "fine".to_owned()),
    })
    .await
}

fn ask(id: &str, url: &str) -> Value {
    json!({"id": id, "type": "http", "config": {"url": url}, "retry": {"backoff_ms": 20}})
}

#[tokio::test]
async fn any_status_is_an_answer_and_what_may_pass_is_tried_again_first() {
    let (server, mesh) = (server().await, Mesh::start().await);
    for code in [404, 400, 410] {
        let workflow = json!({
            "nodes": [ask("a", &format!("{}/{code}", server.url)), task("b", "b"), task("c", "c")],
            "edges": [
                {"from": "a", "to": "b", "condition": format!("output.status_code == {code} && output.score == 7")},
                {"from": "a", "to": "c", "condition": "output.status_code < 300"},
            ],
        });
        let (id, run) = mesh.carry_out(&workflow, json!({})).await;
        let answer = output(&run, "a");
        assert_eq!(
            (&answer["status"], &answer["status_code"]),
            (&json!("success"), &json!(code))
        );
        assert_eq!(answer["body"]["code"], code);
        assert_eq!(status(&run, "c"), NodeStatus::Skipped);
        assert_eq!(mesh.count(&id, EventKind::NodeRetrying, "a").await, 0);
    }
    for code in [503, 429] {
        let node = ask("a", &format!("{}/{code}", server.url));
        let (id, run) = mesh.carry_out(&graph(json!([node]), &[]), json!({})).await;
        assert_eq!(output(&run, "a")["status_code"], 200);
        assert_eq!(mesh.count(&id, EventKind::NodeRetrying, "a").await, 2);
    }
    let mut node = ask("a", &format!("{}/500", server.url));
    node["retry"]["max_attempts"] = 2.into();
    let (id, run) = mesh.carry_out(&graph(json!([node]), &[]), json!({})).await;
    assert_eq!(output(&run, "a")["status_code"], 500);
    assert_eq!(mesh.count(&id, EventKind::NodeRetrying, "a").await, 1);
    assert_eq!(mesh.count(&id, EventKind::NodeFailed, "a").await, 0);
    let asked = server.requests().into_iter();
    assert_eq!(asked.filter(|(path, _)| path == "/404").count(), 1);
    mesh.drain().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_or_not_allowed_fails_its_node() {
    let mesh = Mesh::start().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for url in [format!("http://{gone}/"), "http://192.168.7.7/".to_owned()] {
        let mut node = ask("a", &url);
        node["retry"]["max_attempts"] = 1.into();
        let id = mesh.begin(&graph(json!([node]), &[]), json!({})).await;
        let run = mesh.becomes(&id, RunStatus::Failed).await;
        assert!(run.error().is_some(), "{url}");
    }
    mesh.drain().await;
}

#[tokio::test]
async fn a_compensation_that_is_refused_has_failed() {
    let (server, mesh) = (server().await, Mesh::start().await);
    let mut node = task("a", "a");
    let undo = json!({"type": "http", "config": {"url": format!("{}/404", server.url)}});
    node["compensate"] = undo;
    let mut failing = task("b", "fail");
    failing["retry"] = json!({"max_attempts": 1});
    let workflow = graph(json!([node, failing]), &[("a", "b")]);
    let id = mesh.begin(&workflow, json!({})).await;
    mesh.becomes(&id, RunStatus::Failed).await;
    let told = mesh.events(&id).await;
    let undone = told
        .iter()
        .rfind(|event| event.kind == EventKind::Compensating);
    assert_eq!(undone.unwrap().data["status"], "failed");
    mesh.drain().await;
}
