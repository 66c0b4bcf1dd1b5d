//! A mesh with gateways, and the clients of other people.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use mesh_testkit::{Consul, HaProxy, Process, Program, Redis, tools, until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long what should happen soon may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The modern revision.
pub(crate) const MODERN: &str = "2026-07-28";

/// Agents, a tool, a worker, and gateways that serve them over MCP.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) gateways: Vec<Program>,
    _services: Vec<Program>,
    pub(crate) consul: Consul,
    /// Keeps the jobs of several gateways; one alone keeps its own in a folder.
    _redis: Option<Redis>,
    _folder: TempDir,
    env: Vec<(&'static str, String)>,
}

impl World {
    /// Starts one, with these variables for every program, and waits until its tools are listed.
    pub(crate) async fn start(gateways: usize, set: &[(&'static str, String)]) -> Self {
        let folder = TempDir::with_prefix("mcp-").expect("a temporary folder");
        let consul = Consul::start().await;
        let own = [
            ("TASKS_PORT", "0".to_owned()),
            ("DRAIN_DELAY", "0s".to_owned()),
            ("REQUEST_RATE", "0".to_owned()),
        ];
        let redis = match gateways {
            0 | 1 => None,
            _ => Some(Redis::start(&[]).await),
        };
        let jobs = match &redis {
            Some(redis) => ("REDIS_URL", redis.url()),
            None => (
                "JOBS_PATH",
                folder.path().join("jobs").display().to_string(),
            ),
        };
        let env = [consul.env(), own.to_vec(), vec![jobs], set.to_vec()].concat();
        let mut services = Vec::new();
        for name in ["echo-agent", "weather-tool", "itinerary-worker"] {
            services.push(Program::start(name, &env).await);
        }
        for service in ["agent-echo", "tool-weather", "worker-itinerary"] {
            consul.wait_passing(service, 1).await;
        }
        let mut world = Self {
            gateways: Vec::new(),
            _services: services,
            consul,
            _redis: redis,
            _folder: folder,
            env,
        };
        for _ in 0..gateways {
            let gateway = world.gateway(&[]).await;
            world.gateways.push(gateway);
        }
        for gateway in &world.gateways {
            until("the tools of the demo are listed", SOON, async || {
                let names = tool_names(&mcp(gateway)).await?;
                (names.len() >= 3).then_some(())
            })
            .await;
        }
        world
    }

    /// Another gateway, with more variables.
    pub(crate) async fn gateway(&self, set: &[(&'static str, String)]) -> Program {
        Program::start("mesh-gateway", &[&self.env[..], set].concat()).await
    }

    /// The variables of its programs.
    pub(crate) fn env(&self) -> &[(&'static str, String)] {
        &self.env
    }

    /// Gives a tool that is started by `command` the mesh, and any free port of this machine.
    pub(crate) fn place_tool<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .envs(self.env.iter().map(|(key, value)| (*key, value)))
            .envs([
                ("LISTEN_ADDRESS", "127.0.0.1"),
                ("ADMIN_ADDRESS", "127.0.0.1"),
                ("TOOL_PORT", "0"),
            ])
    }

    /// The endpoint of the first gateway.
    pub(crate) fn mcp(&self) -> String {
        mcp(&self.gateways[0])
    }
}

/// The endpoint of a gateway.
pub(crate) fn mcp(gateway: &Program) -> String {
    format!("http://{}/mcp", gateway.grpc)
}

/// HAProxy before all gateways of a mesh, and the endpoint there.
pub(crate) async fn before(world: &World) -> (HaProxy, String) {
    let haproxy = HaProxy::start(world.consul.dns()).await;
    until("haproxy has all gateways", SOON, async || {
        (haproxy.up_of("gateways").await == world.gateways.len()).then_some(())
    })
    .await;
    let url = format!("http://{}/mcp", haproxy.mcp());
    (haproxy, url)
}

/// A modern request to an endpoint: its status and the message that answers it.
pub(crate) async fn ask(url: &str, method: &str, params: Value) -> Option<(u16, Value)> {
    ask_by(&http(), url, method, params).await
}

/// The same by a client that keeps its connections.
pub(crate) async fn ask_by(
    http: &reqwest::Client,
    url: &str,
    method: &str,
    mut params: Value,
) -> Option<(u16, Value)> {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
    let capabilities = &mut params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    if capabilities.is_null() {
        *capabilities = json!({});
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut request = http
        .post(url)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", MODERN)
        .header("mcp-method", method)
        .timeout(Duration::from_secs(120));
    let name = params["name"].as_str().or(params["uri"].as_str());
    if let Some(name) = name.or(params["taskId"].as_str()) {
        request = request.header("mcp-name", name);
    }
    let answer = request.body(body.to_string()).send().await.ok()?;
    let status = answer.status().as_u16();
    let text = answer.text().await.ok()?;
    Some((status, last_message(&text)?))
}

/// A client with connections of its own.
pub(crate) fn http() -> reqwest::Client {
    let http = reqwest::Client::builder().no_proxy().build();
    http.expect("plain HTTP")
}

/// The message of an answer: JSON, or the last of its events.
pub(crate) fn last_message(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let mut data = text
        .lines()
        .rev()
        .filter_map(|line| line.strip_prefix("data:"));
    data.find_map(|data| serde_json::from_str(data.trim()).ok())
}

/// The result of a tool.
pub(crate) async fn call(url: &str, name: &str, arguments: Value) -> Value {
    let params = json!({"name": name, "arguments": arguments});
    let (status, answer) = ask(url, "tools/call", params).await.expect("an answer");
    assert_eq!(status, 200, "{answer}");
    answer["result"].clone()
}

/// The names of all tools, nothing while they cannot be listed.
pub(crate) async fn tool_names(url: &str) -> Option<Vec<String>> {
    let (mut names, mut params) = (Vec::new(), json!({}));
    loop {
        let (status, answer) = ask(url, "tools/list", params).await?;
        if status != 200 {
            return None;
        }
        let listed = answer["result"]["tools"].as_array()?.clone();
        names.extend(
            listed
                .iter()
                .filter_map(|tool| Some(tool["name"].as_str()?.to_owned())),
        );
        match answer["result"]["nextCursor"].as_str() {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => return Some(names),
        }
    }
}

/// What a program came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Its output, when it ended well.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self.out
    }

    /// Its output as lines of JSON.
    pub(crate) fn json(self) -> Vec<Value> {
        let out = self.ok();
        let lines = out.lines().filter(|line| !line.trim().is_empty());
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect()
    }
}

/// The PATH with our programs, and Node as MCP's own programs want it.
pub(crate) fn path() -> OsString {
    let own = [
        tools::mcp_modules().join(".bin"),
        tools::root().join(".tools/bin"),
        meshctl()
            .parent()
            .expect("a file is in a folder")
            .to_owned(),
    ];
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(own.into_iter().chain(env::split_paths(&path))).expect("no folder has a colon")
}

pub(crate) fn meshctl() -> PathBuf {
    tools::program("meshctl")
}

/// Runs a program to its end, its standard input closed at once.
pub(crate) async fn run(program: impl Into<PathBuf>, args: &[&str], home: &TempDir) -> Ended {
    let mut command = command(program, args, home);
    command.stdin(Stdio::null());
    finish(command).await
}

pub(crate) async fn finish(mut command: Command) -> Ended {
    let ended = tokio::task::spawn_blocking(move || command.output()).await;
    let output = ended.expect("nothing panics").expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

/// A command that sees none of this process' variables but those that programs need.
pub(crate) fn command(program: impl Into<PathBuf>, args: &[&str], home: &TempDir) -> Command {
    let mut command = Command::new(program.into());
    let kept: BTreeMap<_, _> = ["TMPDIR", "LD_LIBRARY_PATH"]
        .iter()
        .filter_map(|key| Some((*key, env::var_os(key)?)))
        .collect();
    command
        .args(args)
        .env_clear()
        .envs(kept)
        .env("PATH", path())
        .env("HOME", home.path());
    command
}

/// Runs the Inspector's command line.
pub(crate) async fn inspector(args: &[&str], home: &TempDir) -> Ended {
    let args = [&["--cli"], args].concat();
    run(tools::mcp_program("mcp-inspector"), &args, home).await
}

/// Starts a client of an SDK that goes on listening, and its lines of JSON.
pub(crate) fn listener(name: &str, mut command: Command) -> Process {
    command.env("PYTHONUNBUFFERED", "1");
    Process::start(name, command)
}

/// A client of the Python SDK.
pub(crate) fn python(args: &[&str], home: &TempDir) -> Command {
    python_script("sdk.py", args, home)
}

/// A script of these tests that uses the Python SDK.
pub(crate) fn python_script(name: &str, args: &[&str], home: &TempDir) -> Command {
    let script = tools::root()
        .join("crates/testkit/tests/mcp/clients")
        .join(name);
    let mut command = command(tools::python(), &["-B"], home);
    command
        .arg(script)
        .args(args)
        .env("PYTHONPATH", tools::mcp_python_path());
    command
}

pub(crate) fn typescript(args: &[&str], home: &TempDir) -> Command {
    let script = tools::root().join("crates/testkit/tests/mcp/clients/sdk.cjs");
    let mut command = command(tools::mcp_program("node"), &[], home);
    command.arg(script).arg(tools::mcp_modules()).args(args);
    command
}
