//! Mounted servers, by themselves and among everything.

mod grants;

use serde_json::{Value, json};
use service::{ServerHandle, Spec};
use testkit::tools;

use super::{
    BOTH, elsewhere::second, events, eventually, listed, modern, modern_request, streams::until,
};
use crate::support::{Answer, Gateway, beside, read};

/// The service that these tests mount.
const FOREIGN: Spec = Spec {
    service: "tool-foreign",
    ..mcp_mount::SPEC
};
const PATH: &str = "/mcp/tool-foreign";

/// A mount of the small server beside a gateway, once its tools are listed.
async fn mounted(gateway: &Gateway) -> ServerHandle {
    let mount = another(gateway).await;
    listed(gateway, "foreign-tool__echo").await;
    mount
}

/// One more.
async fn another(gateway: &Gateway) -> ServerHandle {
    let script = tools::root().join("gateway/tests/http/mcp/foreign.py");
    let command = format!("{} '{}'", tools::python().display(), script.display());
    let set = [("mount_command", command.as_str())];
    beside(gateway, &FOREIGN, mcp_mount::build, &set).await
}

/// A client of a session with the server, at any gateway.
struct Client {
    http: reqwest::Client,
    session: String,
    ids: std::sync::atomic::AtomicU64,
}

impl Client {
    async fn begin(gateway: &ServerHandle, capabilities: Value) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"}});
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let request = http.post(url(gateway)).header("accept", BOTH);
        let request = request.header("content-type", "application/json");
        let begun = read(request.body(body.to_string())).await;
        assert_eq!(begun.status, 200, "{}", begun.text);
        assert_eq!(begun.json()["result"]["serverInfo"]["name"], "foreign");
        let session = begun.header("mcp-session-id").to_owned();
        let ids = std::sync::atomic::AtomicU64::new(100);
        let client = Self { http, session, ids };
        let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(client.post(gateway, &note).await.status, 202);
        client
    }

    fn request(&self, gateway: &ServerHandle, method: reqwest::Method) -> reqwest::RequestBuilder {
        let request = self.http.request(method, url(gateway));
        let request = request.header("accept", BOTH);
        let request = request.header("mcp-session-id", &self.session);
        request.header("mcp-protocol-version", "2025-11-25")
    }

    async fn post(&self, gateway: &ServerHandle, body: &Value) -> Answer {
        let request = self.request(gateway, reqwest::Method::POST);
        let request = request.header("content-type", "application/json");
        read(request.body(body.to_string())).await
    }

    async fn ask(&self, gateway: &ServerHandle, method: &str, params: Value) -> Answer {
        let id = self.ids.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.post(gateway, &body).await
    }

    async fn tool(&self, gateway: &ServerHandle, name: &str, text: &str) -> Answer {
        let params = json!({"name": name, "arguments": {"text": text}});
        self.ask(gateway, "tools/call", params).await
    }

    async fn stream(&self, gateway: &ServerHandle) -> reqwest::Response {
        let stream = self.request(gateway, reqwest::Method::GET).send().await;
        let stream = stream.unwrap();
        assert_eq!(stream.status(), 200);
        stream
    }
}

fn url(gateway: &ServerHandle) -> String {
    format!("http://{}{PATH}", gateway.grpc_addr)
}

#[tokio::test]
async fn a_session_of_a_mount_is_passed_on_and_goes_on_after_its_gateway() {
    let gateway = crate::support::on_redis(&[]).await;
    let _mount = mounted(&gateway).await;
    let others = [second(&gateway).await, second(&gateway).await];
    let client = Client::begin(&gateway.running, json!({"elicitation": {}})).await;
    // Any gateway passes each kind of message on.
    for other in &others {
        eventually(async || client.tool(other, "echo", "hi").await.status == 200).await;
        let echoed = client.tool(other, "echo", "hi").await;
        assert!(echoed.text.contains("hi"), "{}", echoed.text);
    }
    let [other, third] = &others;
    let mut stream = client.stream(other).await;
    let level = client.ask(third, "logging/setLevel", json!({"level": "warning"}));
    assert_eq!(level.await.json()["result"], json!({}));
    let follow = client.ask(other, "resources/subscribe", json!({"uri": "note:1"}));
    assert_eq!(follow.await.json()["result"], json!({}));
    client.tool(third, "touch", "note:1").await;
    let mut text = String::new();
    until(&mut text, &mut stream, "notifications/resources/updated").await;
    // A question of the server is answered by way of another gateway.
    let mut asking = Box::pin(client.tool(other, "ask", ""));
    let answer = json!({"jsonrpc": "2.0", "id": "ask-1",
        "result": {"action": "accept", "content": {"name": "ann"}}});
    let asked = loop {
        tokio::select! {
            asked = &mut asking => break asked,
            // One that comes before the question is for nobody.
            () = tokio::time::sleep(std::time::Duration::from_millis(300)) => {
                assert_eq!(client.post(third, &answer).await.status, 202);
            }
        }
    };
    assert!(asked.text.contains("hello ann"), "{}", asked.text);

    // Its gateway ends. Two others want to go on with it at once.
    drop(stream);
    gateway.running.drain().await;
    let both = tokio::join!(
        client.tool(other, "echo", "one"),
        client.tool(third, "echo", "two")
    );
    let known = [both.0, both.1];
    for answer in &known {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert!(known[0].text.contains("one") && known[1].text.contains("two"));
    // What the client had set is set again, once.
    let state = client.tool(other, "state", "").await.json();
    let state: Value =
        serde_json::from_str(state["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(state["followed"], json!(["note:1"]));
    // One of them has it: what comes goes into the stream that any of them opens.
    let mut stream = client.stream(third).await;
    client.tool(other, "touch", "note:1").await;
    let mut text = String::new();
    until(&mut text, &mut stream, "notifications/resources/updated").await;
    drop(stream);
    // The end is the end everywhere.
    let deleted = client.request(third, reqwest::Method::DELETE).send().await;
    assert_eq!(deleted.unwrap().status(), 204);
    for other in [other, third] {
        assert_eq!(client.tool(other, "echo", "x").await.status, 404);
    }
}

#[tokio::test]
async fn a_session_goes_on_at_another_mount() {
    let gateway = crate::support::embedded(&[]).await;
    let first = mounted(&gateway).await;
    let client = Client::begin(&gateway.running, json!({})).await;
    let state = async || {
        let state = client.tool(&gateway.running, "state", "").await;
        if state.status != 200 || !state.text.contains("pid") {
            return None;
        }
        let text = state.json()["result"]["content"][0]["text"].clone();
        serde_json::from_str::<Value>(text.as_str()?).ok()
    };
    let follow = client.ask(
        &gateway.running,
        "resources/subscribe",
        json!({"uri": "note:2"}),
    );
    assert_eq!(follow.await.json()["result"], json!({}));
    let before = state().await.unwrap();
    assert_eq!(before["followed"], json!(["note:2"]));
    let _other = another(&gateway).await;
    first.drain().await;
    eventually(async || {
        state()
            .await
            .is_some_and(|now| now["pid"] != before["pid"] && now["followed"] == json!(["note:2"]))
    })
    .await;
}

#[tokio::test]
async fn prompts_and_updates_of_a_mount_are_among_everything() {
    let gateway = crate::support::embedded(&[]).await;
    let _mount = mounted(&gateway).await;
    let list = modern(&gateway, "prompts/list", json!({})).await.json();
    let prompts = list["result"]["prompts"].as_array().unwrap();
    let listed = prompts
        .iter()
        .find(|it| it["name"] == "foreign-tool__greet");
    assert_eq!(listed.unwrap()["arguments"][0]["name"], "who", "{list}");
    let get = json!({"name": "foreign-tool__greet", "arguments": {"who": "ann"}});
    let got = modern(&gateway, "prompts/get", get).await.json();
    assert_eq!(got["result"]["messages"][0]["content"]["text"], "greet ann");
    assert_eq!(got["result"]["resultType"], "complete", "{got}");
    let (session, _) = super::initialize(&gateway, "2025-11-25").await;
    let get = json!({"name": "foreign-tool__greet", "arguments": {"who": "bob"}});
    let got = super::legacy(&gateway, Some(&session), "prompts/get", get)
        .await
        .json();
    assert_eq!(got["result"]["messages"][0]["content"]["text"], "greet bob");
    assert!(got["result"].get("resultType").is_none(), "{got}");
    let complete = json!({"ref": {"type": "ref/prompt", "name": "foreign-tool__greet"},
        "argument": {"name": "who", "value": "a"}});
    let done = modern(&gateway, "completion/complete", complete)
        .await
        .json();
    assert_eq!(
        done["result"]["completion"]["values"],
        json!(["ann"]),
        "{done}"
    );
    let read = modern(
        &gateway,
        "resources/read",
        json!({"uri": "mount://foreign/note:7"}),
    )
    .await;
    assert!(read.text.contains("it says note:7"), "{}", read.text);
    let gone = modern(
        &gateway,
        "resources/read",
        json!({"uri": "mount://foreign/x:7"}),
    )
    .await;
    assert_eq!(gone.json()["error"]["code"], -32602, "{}", gone.text);

    // Both eras hear of an update of what they follow, and of nothing else.
    let params = json!({"notifications": {"resourceSubscriptions":
        ["mount://foreign/note:1", "mount://nobody/note:1"]}});
    let request = modern_request(&gateway, "/mcp", "subscriptions/listen", params);
    let mut listening = request.send().await.unwrap();
    let mut text = String::new();
    until(&mut text, &mut listening, "acknowledged").await;
    assert_eq!(
        events(&text)[0]["params"]["notifications"],
        json!({"resourceSubscriptions": ["mount://foreign/note:1"]})
    );
    let stream = gateway.request("GET", "/mcp").header("accept", BOTH);
    let mut stream = stream
        .header("mcp-session-id", &session)
        .send()
        .await
        .unwrap();
    let follow = json!({"uri": "mount://foreign/note:2"});
    let followed = super::legacy(&gateway, Some(&session), "resources/subscribe", follow).await;
    assert_eq!(followed.json()["result"], json!({}), "{}", followed.text);
    eventually(async || {
        let state = json!({"name": "foreign-tool__state", "arguments": {}});
        let state = modern(&gateway, "tools/call", state).await.text;
        state.contains("note:1") && state.contains("note:2")
    })
    .await;
    let mut heard = String::new();
    for note in ["note:1", "note:2"] {
        let touch = json!({"name": "foreign-tool__touch", "arguments": {"text": note}});
        modern(&gateway, "tools/call", touch).await;
    }
    until(&mut text, &mut listening, "notifications/resources/updated").await;
    until(&mut heard, &mut stream, "notifications/resources/updated").await;
    let update = events(&text).pop().unwrap();
    assert_eq!(update["params"]["uri"], "mount://foreign/note:1");
    assert_eq!(
        update["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        7
    );
    let update = events(&heard).pop().unwrap();
    assert_eq!(update["params"], json!({"uri": "mount://foreign/note:2"}));
    // Who listens no more is followed no more.
    drop(listening);
    eventually(async || {
        let state = json!({"name": "foreign-tool__state", "arguments": {}});
        let state = modern(&gateway, "tools/call", state).await.text;
        !state.contains("note:1") && state.contains("note:2")
    })
    .await;
}

#[tokio::test]
async fn a_task_of_a_mount_is_known_among_everything() {
    let gateway = crate::support::embedded(&[]).await;
    let _mount = mounted(&gateway).await;
    let meta = json!({"io.modelcontextprotocol/clientCapabilities":
        {"extensions": {"io.modelcontextprotocol/tasks": {}}}});
    let call = json!({"name": "foreign-tool__task", "arguments": {}, "_meta": meta});
    let begun = modern(&gateway, "tools/call", call).await.json();
    assert_eq!(begun["result"]["resultType"], "task", "{begun}");
    let task = begun["result"]["taskId"].as_str().unwrap();
    assert!(task.starts_with("mount.foreign."), "{task}");
    let get = |id: String| json!({"taskId": id, "_meta": meta});
    let got = modern(&gateway, "tasks/get", get(task.to_owned()))
        .await
        .json();
    assert_eq!(got["result"]["status"], "completed", "{got}");
    assert_eq!(got["result"]["taskId"], task);
    let result = got["result"]["result"].to_string();
    assert!(result.contains("done in a task"), "{got}");
    for other in ["mount.foreign.x", "mount.nobody.t1", "mount."] {
        let got = modern(&gateway, "tasks/get", get(other.to_owned()))
            .await
            .json();
        assert_eq!(got["error"]["code"], -32602, "{other}: {got}");
    }
}

#[tokio::test]
async fn a_server_that_misbehaves_is_told_apart_from_its_gateway() {
    let gateway = crate::support::embedded(&[]).await;
    let _mount = mounted(&gateway).await;
    let call = async |name: &str, text: &str| {
        let params = json!({"name": format!("foreign-tool__{name}"), "arguments": {"text": text}});
        modern(&gateway, "tools/call", params).await
    };
    let flooded = call("flood", "3000").await;
    assert!(flooded.text.contains("flooded"), "{}", flooded.text);
    let other = call("wrong_id", "").await;
    assert!(other.text.contains("for you") && !other.text.contains("for another"));
    let list = modern(&gateway, "tools/list", json!({})).await.json();
    // A schema that nests without end is left out, and takes no other tool with it.
    let list = list.to_string();
    assert!(list.contains("foreign-tool__big") && !list.contains("foreign-tool__deep"));
    let died = call("die", "").await;
    assert_eq!(died.status, 200, "{}", died.text);
    let died = died.json();
    let is_told = died["error"]["code"] == -32603 || died["result"]["isError"] == true;
    assert!(is_told, "{died}");
    eventually(async || call("echo", "back").await.text.contains("back")).await;
    // In a session, too.
    let client = Client::begin(&gateway.running, json!({})).await;
    let flooded = client.tool(&gateway.running, "flood", "3000").await;
    assert!(flooded.text.contains("flooded"), "{}", flooded.text);
    let id = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call",
        "params": {"name": "slow", "arguments": {"text": "2"}}});
    let ping = json!({"jsonrpc": "2.0", "id": 5, "method": "ping"});
    let twice = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        client.post(&gateway.running, &ping).await
    };
    let (slow, twice) = tokio::join!(client.post(&gateway.running, &id), twice);
    assert!(slow.text.contains("slept"), "{}", slow.text);
    assert_eq!(twice.json()["error"]["code"], -32600, "{}", twice.text);
    // Who cancels waits no longer.
    let never = json!({"jsonrpc": "2.0", "id": 6, "method": "tools/call",
        "params": {"name": "never", "arguments": {}}});
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": 6}});
    let cancelling = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        client.post(&gateway.running, &cancel).await
    };
    let (never, cancelled) = tokio::join!(client.post(&gateway.running, &never), cancelling);
    assert_eq!((never.status, cancelled.status), (200, 202));
    assert_eq!(never.json()["error"]["code"], -32603);
}
