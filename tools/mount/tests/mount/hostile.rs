//! Servers and clients that mean harm, or are badly made.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::until;

use crate::kit::{Small, message, text_of};

const SOON: Duration = Duration::from_secs(10);

/// Calls a tool that is not listed, as a client of 2026-07-28 that leaves at once.
async fn tell(small: &Small, tool: &str) {
    drop(
        small
            .stream(json!({}), "tools/call", json!({"name": tool}))
            .await,
    );
}

async fn answers_again(small: &Small) {
    until("the server answers again", SOON, async || {
        // One that has gone into the pipe of a server that reads no more has no answer.
        let called = small.try_call("echo", &[("text", "again")]);
        let told = tokio::time::timeout(Duration::from_secs(2), called).await;
        let told = told.ok()?.ok()?;
        (told.success && told.result == "again").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_message_without_an_end_ends_the_connection() {
    let limit = [("mount_max_message", "64KiB"), ("mount_timeout", "60s")];
    let small = Small::start("legacy", &limit).await;
    let begun = Instant::now();
    let told = small
        .modern(json!({}), "tools/call", json!({"name": "endless"}))
        .await;
    assert_eq!(
        told[0]["error"]["data"]["mesh.v1/status"]["code"],
        "Unavailable"
    );
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    answers_again(&small).await;
}

#[tokio::test]
async fn a_server_that_closes_its_input_is_started_again() {
    let small = Small::start("legacy", &[]).await;
    small.text("echo", &[]).await;
    tell(&small, "shut").await;
    answers_again(&small).await;
}

/// What is sent waits in pipes and queues; whoever leaves meanwhile leaves nothing behind.
#[tokio::test]
async fn clients_that_leave_a_server_that_does_not_read_are_forgotten() {
    let few = [("mount_max_calls", "8"), ("mount_timeout", "2s")];
    let small = Small::start("legacy", &few).await;
    small.text("echo", &[]).await;
    tell(&small, "deaf").await;
    let big = json!({"name": "echo", "arguments": {"text": "x".repeat(64 << 10)}});
    for _ in 0..600 {
        drop(small.stream(json!({}), "tools/call", big.clone()).await);
    }
    // There is room for a request that waits, and it ends when the key says.
    until("a request is late, and not refused", SOON, async || {
        let told = small.modern(json!({}), "tools/call", big.clone()).await;
        let code = &told[0]["error"]["data"]["mesh.v1/status"]["code"];
        (code == "DeadlineExceeded").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_tool_that_cannot_be_used_is_left_out_and_asked_for_once() {
    for era in ["legacy odd", "modern odd"] {
        let small = Small::start(era, &[]).await;
        let mut listened = small
            .stream(
                json!({}),
                "subscriptions/listen",
                json!({"notifications": {"toolsListChanged": true}}),
            )
            .await;
        listened
            .message()
            .await
            .unwrap()
            .expect("it is acknowledged");
        for _ in 0..3 {
            let told = small.modern(json!({}), "tools/list", json!({})).await;
            let tools = told[0]["result"]["tools"].as_array().unwrap();
            let names: Vec<_> = tools.iter().filter_map(|it| it["name"].as_str()).collect();
            assert!(names.contains(&"echo"), "{told:?}");
            assert!(!names.contains(&"says-twice") && names.iter().all(|it| it.len() <= 128));
        }
        // Nothing has changed, and nobody is told that it has.
        let more = tokio::time::timeout(Duration::from_millis(1500), listened.message());
        assert!(more.await.is_err(), "{era}");
        let told = small.modern(json!({}), "server/discover", json!({})).await;
        assert!(told[0]["result"]["capabilities"].is_object(), "{told:?}");
    }
}

#[tokio::test]
async fn capabilities_of_any_kind_do_no_harm() {
    for era in ["legacy", "modern", "legacy odd", "modern odd"] {
        let small = Small::start(era, &[]).await;
        for odd in [json!("x"), json!([]), json!(7), json!(null)] {
            let given = json!({"extensions": odd, "tasks": odd, "roots": odd});
            let mut session = small.session(given.clone()).await;
            let told = session
                .ask(1, "tools/call", json!({"name": "echo", "task": {}}))
                .await;
            assert!(told.is_object());
            for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
                let told = session.ask(2, method, json!({"taskId": "t0"})).await;
                assert!(told.get("error").is_some(), "{method} {told}");
            }
            let told = session.ask(3, "tools/call", json!({"name": "ask"})).await;
            assert!(told.is_object());
            let told = small
                .modern(given, "tools/call", json!({"name": "ask"}))
                .await;
            assert!(told[0].get("error").is_some(), "{told:?}");
        }
    }
}

#[tokio::test]
async fn one_session_has_one_request_of_an_id() {
    let small = Small::start("legacy", &[]).await;
    let mut session = small.session(json!({})).await;
    let slow = json!({"name": "sleep", "arguments": {"count": 400}});
    session.request(1, "tools/call", slow.clone()).await;
    let refused = session.ask(1, "tools/call", slow.clone()).await;
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    let (_, told) = session.next().await;
    assert_eq!(text_of(&told), "slept");
    // The id is free again.
    let told = session.ask(1, "tools/call", slow).await;
    assert_eq!(text_of(&told), "slept");
}

#[tokio::test]
async fn a_session_follows_so_many_resources_and_says_so_much_of_itself() {
    let small = Small::start("modern", &[]).await;
    let mut session = small.session(json!({})).await;
    let long = json!({"uri": format!("a:{}", "x".repeat(5_000))});
    let told = session.ask(1, "resources/subscribe", long).await;
    assert_eq!(told["error"]["code"], -32602, "{told}");
    for at in 0..1_000 {
        let uri = json!({"uri": format!("a:{at}")});
        let told = session.ask(2, "resources/subscribe", uri).await;
        assert!(told.get("result").is_some(), "{told}");
    }
    let told = session
        .ask(3, "resources/subscribe", json!({"uri": "a:one-more"}))
        .await;
    assert_eq!(told["error"]["code"], -32602, "{told}");

    let (sender, messages) = tokio::sync::mpsc::channel(1);
    let begin = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "x".repeat(70_000), "version": "1"}}});
    sender.send(message(&begin)).await.unwrap();
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let mut answers = small.mcp().connect(messages).await.unwrap().into_inner();
    let told = answers.message().await.unwrap().unwrap();
    let told: Value = serde_json::from_slice(&told.message).unwrap();
    assert_eq!(told["error"]["code"], -32600, "{told}");
    assert!(answers.message().await.unwrap().is_none());
}

/// The server counts its tasks, so that anybody can guess their ids.
#[tokio::test]
async fn a_task_is_of_who_has_begun_it() {
    let known = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}, "elicitation": {}});
    for era in ["legacy", "modern"] {
        let small = Small::start(era, &[]).await;
        let call = async |caller: &str, method: &str, params: Value| {
            let mut params = params;
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": known,
            });
            let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            let mut request = tonic::Request::new(message(&request));
            request
                .metadata_mut()
                .insert("x-mesh-caller", caller.parse().unwrap());
            let mut answers = small.mcp().call(request).await.unwrap().into_inner();
            let told = answers.message().await.unwrap().unwrap();
            serde_json::from_slice::<Value>(&told.message).unwrap()
        };
        let begun = call("ann", "tools/call", json!({"name": "task"})).await;
        let id = begun["result"]["taskId"]
            .as_str()
            .unwrap_or_else(|| panic!("{begun}"));
        let seen = call("ann", "tasks/get", json!({ "taskId": id })).await;
        assert_eq!(seen["result"]["taskId"], id, "{era} {seen}");
        for (caller, id) in [
            ("bob", id),
            ("ann", &id[..id.len() - 1]),
            ("ann", "t0"),
            ("bob", "t0"),
        ] {
            for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
                let told = call(caller, method, json!({"taskId": id, "inputResponses": {}})).await;
                assert_eq!(told["error"]["code"], -32602, "{era} {caller} {id} {told}");
            }
        }
    }
}
