//! Clients and servers of both eras meet.

use std::{sync::Arc, time::Duration};

use discovery::backends::Memory;
use serde_json::{Value, json};
use testkit::until;
use tokio::time::timeout;

use crate::kit::{Small, text_of};

const ERAS: [&str; 2] = ["legacy", "modern"];
const SOON: Duration = Duration::from_secs(10);

fn call(name: &str, arguments: impl Into<Value>) -> Value {
    let arguments: Value = arguments.into();
    json!({"name": name, "arguments": arguments})
}

#[tokio::test]
async fn a_modern_client_is_asked_and_comes_again() {
    for era in ERAS {
        let small = Small::start(era, &[]).await;
        let can = json!({"elicitation": {}});
        let asked = small
            .modern(can.clone(), "tools/call", call("ask", json!({})))
            .await;
        let result = &asked[0]["result"];
        assert_eq!(result["resultType"], "input_required", "{asked:?}");
        let (key, request) = result["inputRequests"]
            .as_object()
            .unwrap()
            .iter()
            .next()
            .unwrap();
        assert_eq!(request["method"], "elicitation/create");
        assert_eq!(request["params"]["message"], "Your name?");
        let state = result["requestState"].as_str().unwrap();
        let mut again = call("ask", json!({}));
        again["inputResponses"][key] = json!({"action": "accept", "content": {"name": "Ann"}});
        again["requestState"] = format!("{state}-TAMPERED").into();
        let refused = small.modern(can.clone(), "tools/call", again.clone()).await;
        assert_eq!(refused[0]["error"]["code"], -32602, "{era}: {refused:?}");
        again["requestState"] = state.into();
        let done = small.modern(can.clone(), "tools/call", again).await;
        assert_eq!(text_of(&done[0]), "hello Ann", "{era}");
        let cannot = small
            .modern(json!({}), "tools/call", call("ask", json!({})))
            .await;
        assert!(cannot[0].get("error").is_some(), "{era}: {cannot:?}");
    }
}

#[tokio::test]
async fn a_request_goes_on_at_the_mount_that_holds_it() {
    for era in ERAS {
        let registry = Arc::new(Memory::new());
        let first = Small::start_in(&registry, era, &[]).await;
        let second = Small::start_in(&registry, era, &[]).await;
        let can = json!({"elicitation": {}});
        let asked = first
            .modern(can.clone(), "tools/call", call("ask", json!({})))
            .await;
        let result = &asked[0]["result"];
        let key = result["inputRequests"]
            .as_object()
            .unwrap()
            .keys()
            .next()
            .unwrap();
        let mut again = call("ask", json!({}));
        again["inputResponses"][key] = json!({"action": "decline"});
        again["requestState"] = result["requestState"].clone();
        let done = second
            .modern(can.clone(), "tools/call", again.clone())
            .await;
        assert_eq!(text_of(&done[0]), "hello decline", "{era}: {done:?}");
        // What waited is gone with its mount, and the client is told. A stateless server goes on.
        first.running.drain().await;
        let done = second.modern(can, "tools/call", again).await;
        match era {
            "legacy" => assert_eq!(done[0]["error"]["code"], -32602, "{done:?}"),
            _ => assert_eq!(text_of(&done[0]), "hello decline", "{done:?}"),
        }
    }
}

#[tokio::test]
async fn a_legacy_client_is_asked_by_requests() {
    for era in ERAS {
        let small = Small::start(era, &[]).await;
        let mut session = small.session(json!({"elicitation": {}})).await;
        assert_eq!(session.begun["protocolVersion"], "2025-06-18");
        assert_eq!(session.begun["serverInfo"]["name"], "small");
        session
            .request(5, "tools/call", call("ask", json!({})))
            .await;
        let (related, question) = session.next().await;
        assert_eq!(
            (related.as_str(), &question["method"]),
            ("5", &json!("elicitation/create"))
        );
        let answer = json!({"action": "accept", "content": {"name": "Bob"}});
        session
            .send(&json!({"jsonrpc": "2.0", "id": question["id"], "result": answer}))
            .await;
        let (related, done) = session.next().await;
        assert_eq!(
            (related.as_str(), text_of(&done)),
            ("5", "hello Bob"),
            "{era}"
        );
        // The error of a resource that is not there is that of the client's revision.
        let gone = session
            .ask(6, "resources/read", json!({"uri": "x:y"}))
            .await;
        assert_eq!(gone["error"]["code"], -32002, "{era}");
        let modern = small
            .modern(json!({}), "resources/read", json!({"uri": "x:y"}))
            .await;
        assert_eq!(modern[0]["error"]["code"], -32602, "{era}");
    }
}

#[tokio::test]
async fn progress_and_the_log_reach_whom_they_belong_to() {
    for era in ERAS {
        let small = Small::start(era, &[]).await;
        let mut params = call("progress", json!({"count": 2}));
        params["_meta"]["progressToken"] = json!("mine");
        let all = small.modern(json!({}), "tools/call", params.clone()).await;
        let told: Vec<_> = all
            .iter()
            .map(|it| &it["params"]["progressToken"])
            .take(2)
            .collect();
        assert_eq!(told, ["mine", "mine"], "{era}: {all:?}");
        let mut session = small.session(json!({})).await;
        session.request(1, "tools/call", params).await;
        for expected in [1, 2] {
            let (related, it) = session.next().await;
            assert_eq!(
                (related.as_str(), &it["params"]["progress"]),
                ("1", &json!(expected))
            );
        }
        assert_eq!(text_of(&session.next().await.1), "done");
        // Log lines come to those who want them.
        let quiet = small
            .modern(json!({}), "tools/call", call("log", json!({})))
            .await;
        assert_eq!(quiet.len(), 1, "{era}: {quiet:?}");
        let mut wanted = call("log", json!({}));
        wanted["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
        let loud = small.modern(json!({}), "tools/call", wanted).await;
        assert_eq!(loud.len(), 3, "{era}: {loud:?}");
        session
            .ask(2, "logging/setLevel", json!({"level": "error"}))
            .await;
        session
            .request(3, "tools/call", call("log", json!({})))
            .await;
        assert_eq!(session.next().await.1["params"]["level"], "error", "{era}");
        assert_eq!(text_of(&session.next().await.1), "logged");
    }
}

#[tokio::test]
async fn changes_are_told_to_those_who_listen() {
    for era in ERAS {
        let small = Small::start(era, &[("mcp_pins", "off")]).await;
        let filter = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true,
            "resourceSubscriptions": ["x:1"]}});
        let mut stream = small
            .stream(json!({}), "subscriptions/listen", filter)
            .await;
        let next = async |stream: &mut tonic::Streaming<proto::mesh::v1::McpMessage>| -> Value {
            let it = timeout(SOON, stream.message())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            serde_json::from_slice(&it.message).unwrap()
        };
        let told = next(&mut stream).await;
        assert_eq!(told["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(
            told["params"]["notifications"]["toolsListChanged"], true,
            "{era}"
        );
        let mut session = small.session(json!({})).await;
        let followed = session
            .ask(1, "resources/subscribe", json!({"uri": "x:1"}))
            .await;
        assert_eq!(followed["result"], json!({}));
        // The mount tells the server of a subscription beside the answer.
        tokio::time::sleep(Duration::from_millis(300)).await;
        small.text("change", &[("text", "new words")]).await;
        small.text("touch", &[("text", "x:2")]).await;
        small.text("touch", &[("text", "x:1")]).await;
        let mut methods = Vec::new();
        while methods.len() < 2 {
            let told = next(&mut stream).await;
            let id = &told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
            assert_eq!(id, "q", "{era}: {told}");
            if told["params"]["uri"] != "x:2" {
                methods.push(told["method"].as_str().unwrap().to_owned());
            }
        }
        methods.sort();
        let expected = [
            "notifications/resources/updated",
            "notifications/tools/list_changed",
        ];
        assert_eq!(methods, expected, "{era}");
        let mut heard = Vec::new();
        while heard.len() < 2 {
            let (_, told) = timeout(SOON, session.next()).await.unwrap();
            if told["params"]["uri"] != "x:2" {
                heard.push(told["method"].as_str().unwrap().to_owned());
            }
        }
        heard.sort();
        assert_eq!(heard, expected, "{era}");
        // A stream that the mount ends has its result.
        let drain = small.running.drain();
        let end = async {
            loop {
                let told = next(&mut stream).await;
                if told.get("result").is_some() {
                    return told;
                }
            }
        };
        drop(session);
        let (_, end) = tokio::join!(drain, end);
        assert_eq!(end["id"], "q", "{era}: {end}");
    }
}

#[tokio::test]
async fn a_request_that_is_cancelled_is_cancelled_at_the_server() {
    for era in ERAS {
        let small = Small::start(era, &[]).await;
        let session = small.session(json!({})).await;
        session
            .request(1, "tools/call", call("never", json!({})))
            .await;
        let stream = small
            .stream(json!({}), "tools/call", call("never", json!({})))
            .await;
        let metrics = || small.running.context().registry.clone();
        until("both run", SOON, async || {
            (small.try_call("echo", &[]).await.is_ok()).then_some(())
        })
        .await;
        drop(stream);
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": 1}});
        session.send(&cancel).await;
        until("the server is told of both", SOON, async || {
            let cancelled = metrics().sample("mesh_mount_cancelled_total")?;
            (cancelled >= 2.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_no_request_of_this_revision_is_refused() {
    let small = Small::start("legacy", &[]).await;
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "x/y",
    ] {
        let told = small.modern(json!({}), method, json!({})).await;
        assert_eq!(told[0]["error"]["code"], -32601, "{method}");
        assert_eq!(told[0]["id"], "q");
    }
    for (text, code) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, -32602),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{}}}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"v9"}}}"#,
            -32022,
        ),
        ("{", -32700),
        ("[]", -32600),
        (r#"{"id":true,"method":"a"}"#, -32600),
    ] {
        let request = proto::mesh::v1::McpMessage {
            message: text.as_bytes().to_vec(),
            related_request: Vec::new(),
        };
        let mut stream = small.mcp().call(request).await.unwrap().into_inner();
        let told = stream.message().await.unwrap().unwrap();
        let told: Value = serde_json::from_slice(&told.message).unwrap();
        assert_eq!(told["error"]["code"], code, "{text}");
    }
    let mut session = small.session(json!({})).await;
    let told = session.ask(1, "server/discover", json!({})).await;
    assert_eq!(told["error"]["code"], -32601);
}
