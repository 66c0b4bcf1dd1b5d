//! Servers that end, flood, hang, and answer what was not asked.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::until;
use tonic::Code;

use crate::kit::{Small, text_of};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_server_that_dies_in_a_call_is_back_and_the_call_fails_clearly() {
    for era in ["legacy", "modern", "legacy picky"] {
        let small = Small::start(
            era,
            &[("mount_restart_min", "10ms"), ("mount_restart_max", "1s")],
        )
        .await;
        small.text("echo", &[]).await;
        let told = small.try_call("die", &[]).await.unwrap_err();
        assert_eq!(told.code(), Code::Unavailable, "{told}");
        let begun = Instant::now();
        assert_eq!(
            small.text("echo", &[("text", "again")]).await,
            "again",
            "{era}"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test]
async fn a_call_waits_for_a_restart_as_long_as_the_key_says() {
    let slow = [
        ("mount_restart_min", "3s"),
        ("mount_restart_max", "3s"),
        ("mount_wait", "100ms"),
    ];
    let small = Small::start("legacy", &slow).await;
    until("the server answers", SOON, async || {
        small.try_call("echo", &[]).await.ok()
    })
    .await;
    small.try_call("die", &[]).await.unwrap_err();
    let told = small.try_call("echo", &[]).await;
    // What is known of the tools stays known, so that it is the call that waits.
    let told = told.unwrap_err();
    assert_eq!(told.code(), Code::Unavailable);
    assert!(told.message().contains("it ended"), "{told}");
    let ready = small.running.context().readiness();
    assert_eq!(ready.0, 503, "{ready:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_when_it_starts_is_given_up() {
    let small = Small::start(
        "legacy silent-start",
        &[("mount_start_timeout", "200ms"), ("mount_wait", "1s")],
    )
    .await;
    let told = small.try_call("echo", &[]).await.unwrap_err();
    assert!(
        told.message().contains("it said nothing for 200ms"),
        "{told}"
    );
}

#[tokio::test]
async fn a_server_that_starts_late_is_known_for_what_it_is() {
    for era in ["legacy late", "modern late"] {
        let small = Small::start(era, &[("mount_wait", "30s")]).await;
        assert_eq!(small.text("echo", &[("text", "a")]).await, "a", "{era}");
    }
}

#[tokio::test]
async fn a_call_that_is_never_answered_ends_when_the_key_says() {
    let small = Small::start("legacy", &[("mount_timeout", "200ms")]).await;
    let told = small.try_call("never", &[]).await.unwrap_err();
    assert_eq!(told.code(), Code::DeadlineExceeded);
    let told = small
        .modern(json!({}), "tools/call", json!({"name": "never"}))
        .await;
    assert_eq!(
        told[0]["error"]["data"]["mesh.v1/status"]["code"],
        "DeadlineExceeded"
    );
}

#[tokio::test]
async fn an_answer_to_what_was_not_asked_is_nobodys() {
    for era in ["legacy", "modern"] {
        let small = Small::start(era, &[]).await;
        assert_eq!(small.text("wrong_id", &[]).await, "for you");
        assert_eq!(small.text("twice", &[]).await, "first");
        assert_eq!(small.text("echo", &[("text", "a")]).await, "a");
        let dropped = small
            .running
            .context()
            .registry
            .sample("mesh_mount_dropped_messages_total{reason=\"unknown_id\"}");
        assert!(dropped >= Some(3.0), "{dropped:?}");
    }
}

#[tokio::test]
async fn a_flood_is_dropped_and_the_answer_comes() {
    let small = Small::start("legacy", &[("mount_queue", "8")]).await;
    let mut params = json!({"name": "flood", "arguments": {"count": 20_000}});
    params["_meta"]["progressToken"] = json!(1);
    params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("debug");
    // A client that does not read.
    let mut stream = small.stream(json!({}), "tools/call", params).await;
    assert_eq!(
        small.text("echo", &[("text", "meanwhile")]).await,
        "meanwhile"
    );
    let mut last = None;
    while let Some(it) = stream.message().await.unwrap() {
        last = Some(it.message);
    }
    let last: serde_json::Value = serde_json::from_slice(&last.unwrap()).unwrap();
    assert_eq!(text_of(&last), "flooded");
    let dropped = small
        .running
        .context()
        .registry
        .sample("mesh_mount_dropped_messages_total{reason=\"unknown_id\"}");
    assert!(dropped >= Some(20_000.0), "{dropped:?}");
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_connection_and_the_next_call_is_answered() {
    let small = Small::start("legacy", &[("mount_max_message", "10000")]).await;
    assert_eq!(small.text("big", &[("count", "5000")]).await.len(), 5000);
    let told = small
        .try_call("big", &[("count", "20000")])
        .await
        .unwrap_err();
    assert_eq!(told.code(), Code::Unavailable, "{told}");
    assert_eq!(small.text("echo", &[("text", "a")]).await, "a");
}

#[tokio::test]
async fn no_more_run_wait_and_connect_than_the_keys_say() {
    let set = [
        ("mount_max_calls", "1"),
        ("mount_max_parked", "1"),
        ("mount_max_sessions", "1"),
    ];
    let small = Small::start("legacy", &set).await;
    let session = small.session(json!({})).await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let second = small
        .mcp()
        .connect(tokio_stream::wrappers::ReceiverStream::new(receiver))
        .await;
    assert_eq!(second.unwrap_err().code(), Code::ResourceExhausted);
    drop((sender, session));
    until("the server answers", SOON, async || {
        small.try_call("echo", &[]).await.ok()
    })
    .await;
    let running = small
        .stream(json!({}), "tools/call", json!({"name": "never"}))
        .await;
    let told = until("there is no room", SOON, async || {
        small.try_call("echo", &[]).await.err()
    })
    .await;
    assert_eq!(told.code(), Code::ResourceExhausted, "{told}");
    drop(running);
    until("there is room", SOON, async || {
        small.try_call("echo", &[]).await.ok()
    })
    .await;
    let small = Small::start("legacy", &set[1..2]).await;
    let can = json!({"elicitation": {}});
    let waits = small
        .modern(can.clone(), "tools/call", json!({"name": "ask"}))
        .await;
    assert_eq!(waits[0]["result"]["resultType"], "input_required");
    let told = small
        .modern(can, "tools/call", json!({"name": "ask"}))
        .await;
    assert!(
        told[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("mount_max_parked"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_request_waits_for_input_as_long_as_the_key_says() {
    let small = Small::start("legacy", &[("mount_park_time", "50ms")]).await;
    let can = json!({"elicitation": {}});
    let asked = small
        .modern(can.clone(), "tools/call", json!({"name": "ask"}))
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut again = json!({"name": "ask", "inputResponses": {"ask-1": {"action": "accept"}}});
    again["requestState"] = asked[0]["result"]["requestState"].clone();
    let told = small.modern(can, "tools/call", again).await;
    assert!(
        told[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("has ended"),
        "{told:?}"
    );
}

#[tokio::test]
async fn two_who_could_be_asked_are_not_mistaken_for_each_other() {
    let small = Small::start("legacy", &[]).await;
    let can = json!({"elicitation": {}});
    let first = small
        .stream(can.clone(), "tools/call", json!({"name": "never"}))
        .await;
    until("it runs", SOON, async || {
        let told = small
            .modern(can.clone(), "tools/call", json!({"name": "ask"}))
            .await;
        let text = told[0]["error"]["message"].as_str()?;
        assert!(text.contains("not known which one"), "{told:?}");
        Some(())
    })
    .await;
    drop(first);
}
