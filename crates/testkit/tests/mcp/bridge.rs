//! `meshctl mcp` between an editor and an endpoint.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use mesh_testkit::{Signal, tools};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    conformance::fixture,
    support::{MODERN, command, inspector, meshctl, run},
};

const LIMIT: Duration = Duration::from_secs(20);

/// An editor that has started the program.
struct Editor {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<Value>,
}

impl Editor {
    fn start(url: &str, home: &TempDir) -> Self {
        let mut command = command(meshctl(), &["mcp", "--url", url], home);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let (lines, from) = channel();
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let message = serde_json::from_str(&line).expect("a message a line");
                if lines.send(message).is_err() {
                    break;
                }
            }
        });
        let to = child.stdin.take();
        Self { child, to, from }
    }

    fn send(&mut self, message: &Value) {
        let to = self.to.as_mut().expect("it is open");
        writeln!(to, "{message}").expect("it is read");
    }

    fn next(&self) -> Value {
        self.from.recv_timeout(LIMIT).expect("a message")
    }

    /// The next message that this is true of.
    fn find(&self, what: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next();
            if what(&message) {
                return message;
            }
        }
    }

    /// Begins a session, whose client can be asked.
    fn shake_hands(&mut self) {
        self.send(
            &json!({"jsonrpc": "2.0", "id": "first", "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "editor", "version": "1"}}}),
        );
        let answer = self.next();
        assert_eq!(answer["id"], "first");
        assert_eq!(
            answer["result"]["protocolVersion"], "2025-11-25",
            "{answer}"
        );
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }

    /// Closes its end, and waits for the program's.
    fn close(mut self) {
        drop(self.to.take());
        let status = self.child.wait().expect("a child of ours");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        // An error says that it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn modern(id: &Value, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "editor", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn tool(name: &str, arguments: &Value) -> Value {
    json!({"name": name, "arguments": arguments})
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_every_type_come_back_as_they_were_and_bad_lines_are_told() {
    let home = TempDir::new().expect("a folder");
    let (_fixture, url) = fixture("both").await;
    let mut editor = Editor::start(&url, &home);
    for id in [json!(0), json!("a\"b"), json!(9_007_199_254_740_993_i64)] {
        let params = tool("greet", &json!({"name": "Ada"}));
        editor.send(&modern(&id, "tools/call", params));
        let answer = editor.next();
        assert_eq!(answer["id"], id);
        assert_eq!(
            answer["result"]["content"][0]["text"], "Hello, Ada!",
            "{answer}"
        );
    }
    let to = editor.to.as_mut().expect("it is open");
    writeln!(to, "{{\"jsonrpc\": \"2.0\", ").expect("it is read");
    assert_eq!(editor.next()["error"]["code"], -32700);
    editor.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_whose_arguments_are_headers_is_called_by_a_client_that_has_not_listed_it() {
    let home = TempDir::new().expect("a folder");
    let (_fixture, url) = fixture("both").await;
    let mut editor = Editor::start(&url, &home);
    let params = tool("test_custom_header", &json!({"value": "süd"}));
    editor.send(&modern(&json!(1), "tools/call", params));
    let answer = editor.next();
    assert_eq!(answer["result"]["content"][0]["text"], "süd", "{answer}");
    editor.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_and_a_cancelled_request_is_not_answered() {
    let home = TempDir::new().expect("a folder");
    let (_fixture, url) = fixture("both").await;
    let mut editor = Editor::start(&url, &home);
    let asks = json!({"notifications": {"toolsListChanged": true}});
    editor.send(&modern(&json!("listen"), "subscriptions/listen", asks));
    let first = editor.next();
    assert_eq!(
        first["method"], "notifications/subscriptions/acknowledged",
        "{first}"
    );
    let trigger = tool("test_trigger_tool_change", &json!({}));
    editor.send(&modern(&json!(1), "tools/call", trigger));
    editor.find(|message| message["method"] == "notifications/tools/list_changed");
    let slow = tool("slow_compute", &json!({"seconds": 300}));
    editor.send(&modern(&json!(2), "tools/call", slow));
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
    editor.send(&cancel);
    editor.send(&modern(&json!(3), "tools/call", tool("greet", &json!({}))));
    let answer = editor.find(|message| message["id"] == 2 || message["id"] == 3);
    assert_eq!(answer["id"], 3, "{answer}");
    // Neither the stream nor the cancelled call keeps it.
    editor.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_carries_requests_of_both_sides() {
    let home = TempDir::new().expect("a folder");
    let (_fixture, url) = fixture("legacy").await;
    let mut editor = Editor::start(&url, &home);
    editor.shake_hands();
    let params = tool("test_elicitation", &json!({"message": "who?"}));
    editor.send(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}));
    let asked = editor.find(|message| message["method"] == "elicitation/create");
    assert_eq!(asked["params"]["message"], "who?");
    let content = json!({"username": "ada", "email": "a@b"});
    let result = json!({"action": "accept", "content": content});
    editor.send(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}));
    let answer = editor.find(|message| message["id"] == 2);
    let text = answer["result"]["content"][0]["text"].as_str();
    assert!(text.is_some_and(|text| text.contains("ada")), "{answer}");
    editor.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_when_its_endpoint_was_started_again() {
    let home = TempDir::new().expect("a folder");
    let (mut first, url) = fixture("legacy").await;
    let mut editor = Editor::start(&url, &home);
    editor.shake_hands();
    first.signal(Signal::Kill);
    first.wait_exit(LIMIT).await;
    let listen = url.trim_start_matches("http://").trim_end_matches("/mcp");
    let mut again = Command::new(tools::example("mcp_fixture"));
    again.args(["--era", "legacy", "--listen", listen]);
    let _second = mesh_testkit::Process::start("mcp_fixture", again);
    let params = tool("test_simple_text", &json!({}));
    // Sent while nobody listens yet: it waits, and the session is begun anew.
    editor.send(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}));
    let answer = editor.find(|message| message["id"] == 2);
    assert!(answer["result"]["content"].is_array(), "{answer}");
    editor.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_with_the_endpoint_is_an_error_of_the_request() {
    let home = TempDir::new().expect("a folder");
    let (mut endpoint, url) = fixture("both").await;
    let mut editor = Editor::start(&url, &home);
    let slow = tool("slow_compute", &json!({"seconds": 300}));
    editor.send(&modern(&json!(1), "tools/call", slow));
    std::thread::sleep(Duration::from_millis(500));
    endpoint.signal(Signal::Kill);
    let answer = editor.next();
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!(1), &json!(-32603))
    );
    editor.send(&modern(&json!(2), "tools/call", tool("greet", &json!({}))));
    let answer = editor.next();
    let text = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(text.contains("no gateway answers"), "{answer}");
    editor.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_reaches_the_fixture_through_it_in_both_eras() {
    let home = TempDir::new().expect("a folder");
    let (_fixture, url) = fixture("both").await;
    let meshctl = meshctl().display().to_string();
    for era in ["legacy", "modern"] {
        let args = [
            "--transport",
            "stdio",
            "--protocol-era",
            era,
            "--format",
            "json",
            "-q",
        ];
        let call = [
            "--method",
            "tools/call",
            "--tool-name",
            "greet",
            "--tool-arg",
            "name=Ada",
        ];
        let program = ["--", &meshctl, "mcp", "--url", &url];
        let called = inspector(&[&args[..], &call, &program].concat(), &home)
            .await
            .json();
        assert_eq!(
            called[0]["result"]["content"][0]["text"], "Hello, Ada!",
            "{era}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_listed_shown_and_called_from_the_command_line() {
    let home = TempDir::new().expect("a folder");
    let (_fixture, url) = fixture("both").await;
    for era in ["auto", "modern", "legacy"] {
        let mcp = async |args: &[&str]| {
            run(
                meshctl(),
                &[&["mcp", "--url", &url, "--era", era], args].concat(),
                &home,
            )
            .await
        };
        let listed = mcp(&["tools"]).await.ok();
        assert!(
            listed.starts_with("NAME") && listed.contains("greet"),
            "{listed}"
        );
        let each = mcp(&["tools", "--json"]).await.json();
        assert!(each.len() > 30 && each[0]["inputSchema"].is_object());
        let one = mcp(&["tools", "greet"]).await.ok();
        assert!(one.contains("name       string  required"), "{one}");
        let greeted = mcp(&["call", "greet", "name=Ada"]).await.ok();
        assert_eq!(greeted.trim(), "Hello, Ada!");
        let args = ["--json", "call", "greet", "--args", r#"{"name":"Ada"}"#];
        let greeted = mcp(&args).await.json();
        assert_eq!(greeted[0]["content"][0]["text"], "Hello, Ada!");
        let failed = mcp(&["call", "test_error_handling"]).await;
        assert_eq!(failed.code, Some(1));
        assert!(
            failed.err.contains("error: This tool intentionally"),
            "{}",
            failed.err
        );
        let unknown = mcp(&["call", "greeet"]).await;
        assert!(
            unknown.err.contains("did you mean greet?"),
            "{}",
            unknown.err
        );
        let computed = mcp(&["call", "slow_compute", "seconds=1.5"]).await.ok();
        assert_eq!(computed.trim(), "computed for 1.5 s");
        let wrong = mcp(&["call", "slow_compute", "seconds=many"]).await;
        assert!(wrong.err.contains("not of type number"), "{}", wrong.err);
    }
    let ask = [
        "mcp",
        "--url",
        &url,
        "call",
        "test_input_required_result_multi_round",
        "--answer",
    ];
    let asked = run(
        meshctl(),
        &[&ask[..], &[r#"{"name":"Ada","color":"red"}"#]].concat(),
        &home,
    )
    .await;
    assert!(asked.err.contains("asked: Step 2"), "{}", asked.err);
    assert_eq!(asked.ok().trim(), "Both steps are done");
}
