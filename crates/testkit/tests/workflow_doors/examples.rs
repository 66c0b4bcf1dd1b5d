//! The documented examples end as they say.

use mesh_testkit::tools;
use serde_json::{Value, json};

use crate::support::Doors;

fn example(name: &str) -> Value {
    let path = tools::root()
        .join("docs/examples/workflows")
        .join(format!("{name}.json"));
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The ids of nodes with this status.
fn with_status(details: &Value, status: &str) -> Vec<String> {
    let nodes = details["node_executions"].as_object().unwrap();
    let with = nodes.iter().filter(|(_, node)| node["status"] == status);
    with.map(|(id, _)| id.clone()).collect()
}

#[tokio::test]
async fn a_small_refund_is_paid_by_rule_and_a_large_one_by_a_person() {
    let doors = Doors::carrying(&[]).await;
    doors.put("refund", &example("refund")).await;
    let small = doors
        .execute("refund", &json!({"amount": 40, "customer": "Ada"}))
        .await;
    doors.until_status(&small, "COMPLETED").await;
    let details = doors.details(&small).await;
    assert_eq!(
        with_status(&details, "completed"),
        ["by_rule", "pay", "read", "route"]
    );
    assert_eq!(with_status(&details, "skipped"), ["ask", "refuse"]);
    assert!(
        details["node_outputs_raw"]["pay"]
            .to_string()
            .contains("refund 40 EUR to Ada")
    );

    for (approved, done, skipped) in [
        (true, "pay", ["by_rule", "refuse"]),
        (false, "refuse", ["by_rule", "pay"]),
    ] {
        let large = doors
            .execute("refund", &json!({"amount": 400, "customer": "Bob"}))
            .await;
        doors.until_status(&large, "WAITING_FOR_APPROVAL").await;
        let body = json!({"run_id": large, "node_id": "ask", "approved": approved, "comment": "c"});
        doors.post("/api/approval", &body).await.expect(200);
        doors.until_status(&large, "COMPLETED").await;
        let details = doors.details(&large).await;
        assert_eq!(with_status(&details, "skipped"), skipped);
        assert_eq!(details["node_executions"][done]["status"], "completed");
    }
    doors.drain().await;
}

#[tokio::test]
async fn a_survey_asks_for_each_topic_and_keeps_their_order() {
    let doors = Doors::carrying(&[]).await;
    doors.put("survey", &example("survey")).await;
    let topics: Vec<String> = (0..9).map(|number| format!("topic-{number}")).collect();
    let run = doors.execute("survey", &json!({ "topics": topics })).await;
    doors.until_status(&run, "COMPLETED").await;
    let details = doors.details(&run).await;
    let text = details["node_outputs_raw"]["ask_each"].to_string();
    let places: Vec<_> = topics
        .iter()
        .map(|topic| text.find(topic.as_str()).unwrap())
        .collect();
    assert!(places.is_sorted(), "{text}");
    doors.drain().await;
}

#[tokio::test]
async fn a_poll_ends_when_it_has_found_it() {
    let doors = Doors::carrying(&[]).await;
    doors.put("poll", &example("poll")).await;
    let run = doors.execute("poll", &json!({"parcel": "P-17"})).await;
    doors.until_status(&run, "COMPLETED").await;
    let details = doors.details(&run).await;
    assert_eq!(details["output"], json!({"found": true}), "{details}");
    assert_eq!(details["node_executions"]["gave_up"]["status"], "skipped");
    doors.drain().await;
}

#[tokio::test]
async fn an_order_ships_once_it_is_paid_and_is_undone_when_it_is_cancelled() {
    let doors = Doors::carrying(&[]).await;
    doors.put("order", &example("order")).await;
    let inputs = json!({"article": "chair", "quantity": 2});
    let run = doors.execute("order", &inputs).await;
    doors.until_node(&run, "paid", "running").await;
    let path = format!("/api/v1/runs/{run}/signals/paid");
    doors.post(&path, &json!({"by": "card"})).await.expect(200);
    doors.until_status(&run, "COMPLETED").await;
    let details = doors.details(&run).await;
    assert_eq!(details["node_outputs_raw"]["price"]["total"], json!(15.0));
    assert!(
        details["node_outputs_raw"]["ship"]
            .to_string()
            .contains("send chair"),
        "{details}"
    );

    let run = doors.execute("order", &inputs).await;
    doors.until_node(&run, "paid", "running").await;
    let reason = json!({"reason": "changed my mind"});
    doors
        .post(&format!("/api/v1/runs/{run}/cancel"), &reason)
        .await
        .expect(200);
    doors.until_status(&run, "CANCELLED").await;
    let log = doors
        .get(&format!("/api/v1/runs/{run}/events?cursor=first"))
        .await;
    assert!(log.text.contains("event: compensating"), "{}", log.text);
    doors.drain().await;
}
