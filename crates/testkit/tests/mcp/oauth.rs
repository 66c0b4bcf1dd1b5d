//! Clients that get their tokens by OAuth, as an editor does: refused, they find out where, ask a person, and come again.

use mesh_testkit::{HaProxy, Process, Program, Redis, http_client, until};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{MODERN, SOON, World, ask_by, finish, http, python_script};

/// What an echo takes, and what becomes a task.
const TIMES: [(&str, &str); 2] = [("ECHO_DELAY", "1500ms"), ("MCP_TASK_AFTER", "500ms")];

/// A mesh whose gateway takes the tokens of an authorization server, behind HAProxy.
struct Secured {
    url: String,
    issuer: String,
    _runner: Program,
    _gateway: Program,
    _haproxy: HaProxy,
    _authorization: Process,
    _world: World,
    _redis: Redis,
}

impl Secured {
    async fn start(home: &TempDir) -> Self {
        let redis = Redis::start(&[]).await;
        let set = [
            vec![("REDIS_URL", redis.url())],
            TIMES.map(|(key, value)| (key, value.to_owned())).to_vec(),
        ];
        let world = World::start(0, &set.concat()).await;
        let server = python_script("authorization.py", &[], home);
        let mut authorization = Process::start("authorization", server);
        let issuer = authorization
            .wait_for_line(SOON, |line| {
                line.strip_prefix("listening ").map(str::to_owned)
            })
            .await;
        let runner = Program::start("job-runner", world.env()).await;
        world.consul.wait_passing("job-runner", 1).await;
        // The resource is what clients call it, so its port is known before its gateway.
        let haproxy = HaProxy::start(world.consul.dns()).await;
        let url = format!("http://{}/mcp", haproxy.mcp());
        let keys = [
            ("MCP_AUTH", "jwt".to_owned()),
            ("MCP_ISSUER", issuer.clone()),
            ("MCP_JWKS_URL", format!("{issuer}/jwks")),
            ("MCP_RESOURCE", url.clone()),
        ];
        let gateway = world.gateway(&keys).await;
        until(
            "the gateway has the agent, and haproxy the gateway",
            SOON,
            async || {
                let services = format!("http://{}/api/v1/mcp/services", gateway.grpc);
                let services = http_client::json(&services).await?["services"].take();
                let services = services.as_array()?.clone();
                let tools = services.iter().filter_map(|it| it["tools"].as_u64());
                (tools.sum::<u64>() >= 3 && haproxy.up_of("gateways").await == 1).then_some(())
            },
        )
        .await;
        Self {
            url,
            issuer,
            _runner: runner,
            _gateway: gateway,
            _haproxy: haproxy,
            _authorization: authorization,
            _world: world,
            _redis: redis,
        }
    }

    /// Has the SDK's client list and call, and checks each step of its way. Gives the token that it has in the end.
    async fn walk(&self, mode: &str, user: &str, home: &TempDir) -> String {
        let call = ["echo-agent", r#"{"input":"hello"}"#];
        let args = [&[&*self.url, mode, user], &call[..]].concat();
        let told = finish(python_script("oauth.py", &args, home)).await.json();
        let mut told = told.into_iter();
        let mut next = |what: &str| {
            let line = told
                .next()
                .unwrap_or_else(|| panic!("{user}: no {what} is told"));
            assert!(!line[what].is_null(), "{user}: not {what} but {line}");
            line
        };
        // Without a token: told where the description is, and of which scopes there are.
        let refused = next("refused");
        let challenge = refused["challenge"].as_str().unwrap_or_default();
        let base = self.url.trim_end_matches("/mcp");
        let metadata = "/.well-known/oauth-protected-resource/mcp";
        let names = format!("resource_metadata=\"{base}{metadata}\"");
        assert!(
            refused["refused"] == 401
                && challenge.contains(&names)
                && challenge.contains("scope=\"mesh:read mesh:tools\""),
            "{refused}"
        );
        let described = next("metadata");
        assert_eq!(
            (&described["metadata"], &described["status"]),
            (&metadata.into(), &200.into())
        );
        let described = next("metadata");
        assert_eq!(
            described["metadata"],
            "/.well-known/oauth-authorization-server"
        );
        let registered = next("registered");
        assert_eq!(
            (&registered["registered"], &registered["issuer"]),
            (&user.into(), &self.issuer.as_str().into())
        );
        let asked = next("asked");
        assert_eq!(asked["asked"], "mesh:read mesh:tools");
        assert_eq!(
            (&asked["resource"], &asked["pkce"]),
            (&self.url.as_str().into(), &"S256".into())
        );
        assert_eq!(next("granted")["granted"], "mesh:read");
        // That is enough for lists, and too little for a call: the client asks for more.
        let listed = next("version");
        let version = if mode == "legacy" {
            "2025-11-25"
        } else {
            MODERN
        };
        let tools = listed["tools"].as_array().expect("tools");
        assert!(
            listed["version"] == version && tools.contains(&"echo-agent".into()),
            "{listed}"
        );
        let refused = next("refused");
        let challenge = refused["challenge"].as_str().unwrap_or_default();
        assert!(
            refused["refused"] == 403
                && challenge.contains("error=\"insufficient_scope\"")
                && challenge.contains("scope=\"mesh:tool:echo-agent\"")
                && challenge.contains(&names),
            "{refused}"
        );
        let all = "mesh:read mesh:tools mesh:tool:echo-agent";
        assert_eq!(next("asked")["asked"], all);
        assert_eq!(next("granted")["granted"], all);
        let called = next("called");
        let text = called["called"].as_str().unwrap_or_default();
        assert!(
            text.contains("hello") && called["failed"] == false,
            "{called}"
        );
        next("token")["token"].as_str().expect("a token").to_owned()
    }

    async fn ask(&self, http: &reqwest::Client, method: &str, mut params: Value) -> (u16, Value) {
        let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
        params["_meta"] = json!({"io.modelcontextprotocol/clientCapabilities": tasks});
        let answer = ask_by(http, &self.url, method, params).await;
        answer.expect("an answer")
    }
}

/// A client that shows a token.
fn bearer(token: &str) -> reqwest::Client {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a token is plain");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    let http = reqwest::Client::builder().no_proxy();
    http.default_headers(headers).build().expect("plain HTTP")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_gets_through_an_authorization_server_to_a_call_and_its_tasks_are_its_own() {
    let home = TempDir::new().expect("a folder");
    let mesh = Secured::start(&home).await;
    let (ann, bob) = tokio::join!(
        mesh.walk("auto", "ann", &home),
        mesh.walk("legacy", "bob", &home)
    );
    let (ann, bob) = (bearer(&ann), bearer(&bob));

    let params = json!({"name": "echo-agent", "arguments": {"input": "long work"}});
    let (_, started) = mesh.ask(&ann, "tools/call", params).await;
    let task = started["result"]["taskId"].as_str();
    let task = task.unwrap_or_else(|| panic!("no task: {started}"));
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let params = || json!({"taskId": task, "inputResponses": {}});
        let (_, refused) = mesh.ask(&bob, method, params()).await;
        assert_eq!(refused["error"]["code"], -32602, "{method}: {refused}");
        // As if there were none, to the letter.
        let (_, unknown) = mesh
            .ask(
                &bob,
                method,
                json!({"taskId": "none", "inputResponses": {}}),
            )
            .await;
        let words = |answer: &Value| answer["error"]["message"].to_string();
        assert_eq!(words(&refused).replace(task, "none"), words(&unknown));
        let status = ask_by(&http(), &mesh.url, method, params()).await;
        assert!(
            status.is_none_or(|(status, _)| status == 401),
            "{method} without a token"
        );
    }
    let done = until("the task is completed for who began it", SOON, async || {
        let (_, got) = mesh.ask(&ann, "tasks/get", json!({ "taskId": task })).await;
        (got["result"]["status"] == "completed").then_some(got)
    })
    .await;
    let text = done["result"]["result"]["content"][0]["text"].as_str();
    assert!(
        text.is_some_and(|text| text.contains("long work")),
        "{done}"
    );
}
