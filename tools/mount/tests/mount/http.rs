//! Servers that are reached by HTTP.

use std::time::Duration;

use serde_json::json;
use testkit::{Process, local, until};

use crate::kit::{SMALL, Small, command, text_of};

const SOON: Duration = Duration::from_secs(10);

/// The small server on a port, and its URL.
async fn server(era: &str) -> (Process, String) {
    let line = format!("exec {} http", command(era));
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &line]);
    let mut server = Process::start("server.py", shell);
    let port: u16 = server
        .wait_for_line(SOON, |line| line.trim().parse().ok())
        .await;
    (server, format!("http://127.0.0.1:{port}/mcp"))
}

#[tokio::test]
async fn a_server_at_a_url_is_asked_with_the_headers_of_the_keys() {
    for era in ["legacy", "modern"] {
        let (_server, url) = server(era).await;
        let set = [
            ("mount_url", url.as_str()),
            ("mount_headers", "x-key: s3cret"),
        ];
        let small = Small::at(&set).await;
        assert_eq!(
            small.text("echo", &[("text", "by http")]).await,
            "by http",
            "{era}"
        );
        let mut params = json!({"name": "progress", "arguments": {"count": 3}});
        params["_meta"]["progressToken"] = json!("p");
        let all = small.modern(json!({}), "tools/call", params).await;
        assert_eq!(all.len(), 4, "{era}: {all:?}");
        // Who is asked is known by the stream, however many calls there are.
        let can = json!({"elicitation": {}});
        let first = small
            .modern(can.clone(), "tools/call", json!({"name": "ask"}))
            .await;
        let second = small
            .modern(can.clone(), "tools/call", json!({"name": "ask"}))
            .await;
        for (asked, name) in [(second, "two"), (first, "one")] {
            let result = &asked[0]["result"];
            assert_eq!(result["resultType"], "input_required", "{era}: {asked:?}");
            let key = result["inputRequests"]
                .as_object()
                .unwrap()
                .keys()
                .next()
                .unwrap();
            let mut again = json!({"name": "ask", "requestState": result["requestState"]});
            again["inputResponses"][key] = json!({"action": "accept", "content": {"name": name}});
            let done = small.modern(can.clone(), "tools/call", again).await;
            assert_eq!(
                text_of(&done[0]),
                format!("hello {name}"),
                "{era}: {done:?}"
            );
        }
        let mut session = small.session(can).await;
        session
            .request(1, "tools/call", json!({"name": "ask"}))
            .await;
        let (_, question) = session.next().await;
        let answer = json!({"action": "accept", "content": {"name": "three"}});
        session
            .send(&json!({"jsonrpc": "2.0", "id": question["id"], "result": answer}))
            .await;
        assert_eq!(text_of(&session.next().await.1), "hello three", "{era}");
        let wrong = [
            ("mount_url", url.as_str()),
            ("mount_headers", "x-key: other"),
            ("mount_wait", "1s"),
        ];
        let small = Small::at(&wrong).await;
        let told = small.try_call("echo", &[]).await.unwrap_err();
        assert!(told.message().contains("401"), "{told}");
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_found_again() {
    let (server, url) = server("modern").await;
    let set = [
        ("mount_url", url.as_str()),
        ("mount_headers", "x-key: s3cret"),
        ("mount_wait", "0s"),
    ];
    let small = Small::at(&set).await;
    until("the server answers", SOON, async || {
        small.try_call("echo", &[]).await.ok()
    })
    .await;
    drop(server);
    let told = small.try_call("echo", &[]).await.unwrap_err();
    assert_eq!(told.code(), tonic::Code::Unavailable, "{told}");
    until("the mount is not ready", SOON, async || {
        (small.running.context().readiness().0 == 503).then_some(())
    })
    .await;
}

#[test]
fn a_mount_is_named_by_its_key_and_needs_a_server() {
    let named = |set: &[(&str, &str)]| mcp_mount::named(&local::config(&SMALL, set));
    let url = ("mount_url", "http://127.0.0.1:1/");
    let spec = named(&[url, ("mount_name", "docs")]).unwrap();
    assert_eq!(spec.service, "tool-docs");
    assert_eq!(
        named(&[url, ("mount_name", "tool-docs")]).unwrap().service,
        "tool-docs"
    );
    let told = named(&[url]).unwrap_err().to_string();
    assert!(told.contains("--name NAME"), "{told}");
    let told = named(&[("mount_name", "docs")]).unwrap_err().to_string();
    assert!(told.contains("after `--`"), "{told}");
}
