//! What waits: people, timers, signals; and what a restart makes of it.

use std::time::Duration;

use mesh_testkit::{WebServer, until};
use runs::{ApprovalFilter, Decision, DecisionOutcome};
use serde_json::{Value, json};
use workflow::{EventKind, RunStatus};

use crate::support::{Mesh, PATIENCE, graph, output, task};

fn hitl(options: &Value) -> Value {
    let mut config = json!({ "message": "may I?" });
    for (name, value) in options.as_object().unwrap() {
        config[name] = value.clone();
    }
    json!({ "id": "ask", "type": "hitl", "config": config })
}

fn decision(by: &str, approved: bool) -> Decision {
    Decision {
        approved,
        by: by.to_owned(),
        comment: String::new(),
        data: json!({}),
        at: 1,
    }
}

async fn asked(mesh: &Mesh, run_id: &str) -> String {
    let filter = ApprovalFilter {
        run_id: Some(run_id.to_owned()),
        pending: true,
        limit: 10,
        ..ApprovalFilter::default()
    };
    until("people are asked", PATIENCE, async || {
        let approvals = mesh.store.approvals(&filter).await.unwrap();
        Some(approvals.first()?.asked.key.clone())
    })
    .await
}

#[tokio::test]
async fn a_run_waits_for_a_person_over_a_restart_and_one_of_two_counts() {
    let mesh = Mesh::start().await;
    let nodes = json!([task("a", "a"), hitl(&json!({})), task("b", "b")]);
    let workflow = graph(nodes, &[("a", "ask"), ("ask", "b")]);
    let id = mesh.begin(&workflow, json!({})).await;
    let key = asked(&mesh, &id).await;
    mesh.becomes(&id, RunStatus::WaitingForApproval).await;
    let mesh = mesh.restart(Duration::ZERO).await;
    let (yes, no) = (decision("ann", true), decision("bob", false));
    let (ann, bob) = tokio::join!(mesh.store.decide(&key, &yes), mesh.store.decide(&key, &no));
    let outcomes = [ann.unwrap(), bob.unwrap()];
    let counted = |outcome: &&DecisionOutcome| matches!(outcome, DecisionOutcome::Complete(_));
    assert_eq!(outcomes.iter().filter(counted).count(), 1, "{outcomes:?}");
    let end = until("it ended", PATIENCE, async || {
        let run = mesh.look(&id).await?;
        run.status().is_final().then_some(run)
    })
    .await;
    let approved = matches!(outcomes[0], DecisionOutcome::Complete(_));
    assert_eq!(output(&end, "ask")["approved"], approved);
    assert_eq!(mesh.count(&id, EventKind::ApprovalDecided, "ask").await, 1);
    mesh.drain().await;
}

#[tokio::test]
async fn when_the_time_is_over_the_options_decide() {
    let mesh = Mesh::start().await;
    for (on_timeout, approved) in [("approve", json!(true)), ("reject", json!(false))] {
        let options = json!({"timeout_ms": 300, "on_timeout": on_timeout});
        let id = mesh
            .begin(&graph(json!([hitl(&options)]), &[]), json!({}))
            .await;
        let run = until("it ended", PATIENCE, async || {
            let run = mesh.look(&id).await?;
            run.status().is_final().then_some(run)
        })
        .await;
        assert_eq!(output(&run, "ask")["approved"], approved, "{on_timeout}");
    }
    let options = json!({"timeout_ms": 300, "on_timeout": "fail"});
    let id = mesh
        .begin(&graph(json!([hitl(&options)]), &[]), json!({}))
        .await;
    mesh.becomes(&id, RunStatus::Failed).await;
    mesh.drain().await;
}

#[tokio::test]
async fn escalation_asks_the_next_ones() {
    let mesh = Mesh::start().await;
    let options = json!({
        "approvers": ["ann"], "timeout_ms": 60_000,
        "escalate": [{"after_ms": 300, "approvers": ["boss"]}],
    });
    let id = mesh
        .begin(&graph(json!([hitl(&options)]), &[]), json!({}))
        .await;
    let key = asked(&mesh, &id).await;
    until("the next ones are asked", PATIENCE, async || {
        let approval = mesh.store.approval(&key).await.unwrap();
        let approvers = &approval.asked.options["approvers"];
        (approval.escalated == 1 && *approvers == json!(["ann", "boss"])).then_some(())
    })
    .await;
    mesh.store
        .decide(&key, &decision("boss", true))
        .await
        .unwrap();
    mesh.becomes(&id, RunStatus::Completed).await;
    mesh.drain().await;
}

#[tokio::test]
async fn timers_that_were_due_while_all_was_down_fire_once() {
    let mesh = Mesh::start().await;
    let wait = json!({"id": "wait", "type": "timer", "config": {"duration_ms": 500}});
    let workflow = graph(json!([wait, task("b", "b")]), &[("wait", "b")]);
    let (id, _) = mesh.carry_out(&workflow, json!({})).await;
    assert_eq!(mesh.count(&id, EventKind::TimerFired, "wait").await, 1);
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(mesh.begin(&workflow, json!({})).await);
    }
    for id in &ids {
        mesh.becomes(id, RunStatus::Running).await;
    }
    let mesh = mesh.restart(Duration::from_millis(700)).await;
    for id in &ids {
        mesh.becomes(id, RunStatus::Completed).await;
        assert_eq!(mesh.count(id, EventKind::NodeCompleted, "wait").await, 1);
    }
    mesh.drain().await;
}

#[tokio::test]
async fn a_signal_wakes_who_waits_for_it() {
    let mesh = Mesh::start().await;
    let wait =
        json!({"id": "wait", "type": "signal", "config": {"name": "go", "timeout_ms": 60000}});
    let workflow = graph(json!([wait, task("b", "b")]), &[("wait", "b")]);
    let id = mesh.begin(&workflow, json!({})).await;
    mesh.becomes(&id, RunStatus::Running).await;
    let (code, _) = mesh
        .send(&id, "signal", json!({"name": "go", "payload": {"n": 7}}))
        .await;
    assert_eq!(code, 200);
    let run = mesh.becomes(&id, RunStatus::Completed).await;
    assert!(output(&run, "wait").to_string().contains('7'));
    let (code, _) = mesh
        .send(&id, "signal", json!({"name": "go", "payload": null}))
        .await;
    assert_eq!(code, 409);
    mesh.drain().await;
}

#[tokio::test]
async fn a_server_is_told_what_is_asked_reminded_and_decided_by_the_clock() {
    let server = WebServer::start(|_, _| (204, String::new())).await;
    let mesh = Mesh::start().await;
    let url = format!("{}/told", server.url);
    let options = json!({"timeout_ms": 2500, "remind_ms": 1000, "notify_url": url});
    let id = mesh
        .begin(&graph(json!([hitl(&options)]), &[]), json!({}))
        .await;
    let told = until("it was told of all", PATIENCE, async || {
        let bodies = server.requests().into_iter();
        let bodies = bodies.map(|(_, body)| serde_json::from_str(&body).unwrap());
        let bodies: Vec<Value> = bodies.collect();
        let of = |event: &str| bodies.iter().any(|body| body["event"] == event);
        ["asked", "reminded", "expired"]
            .iter()
            .all(|event| of(event))
            .then_some(bodies)
    })
    .await;
    assert!(told.iter().all(|body| body["run_id"] == id), "{told:?}");
    assert_eq!(told[0]["message"], "may I?");
    let asked = told.iter().filter(|body| body["event"] == "asked");
    assert_eq!(asked.count(), 1);
    mesh.drain().await;
}
