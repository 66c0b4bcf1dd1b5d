//! `meshctl doctor`: each mistake is planted for real, alone, and named by its code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use testkit::{Certificate, Consul, HaProxy, Process, Redis, consul::MASTER, tools::tool, until};

use crate::mesh::{Answer, LIMIT, Mesh, meshctl, run, run_command};

/// The demo's mesh.
const DEMO: [&str; 4] = ["--consul", "none", "--echo", "3"];

/// What one run of the doctor said.
pub(crate) struct Report {
    code: Option<i32>,
    value: Value,
}

impl Report {
    fn of(answer: &Answer) -> Self {
        let (code, value) = (answer.code, answer.value());
        Self { code, value }
    }

    fn check(&self, code: &str) -> &Value {
        let checks = self.value["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["code"] == code);
        found.unwrap_or_else(|| panic!("no {code} in {}", self.value))
    }

    pub(crate) fn verdict(&self, code: &str) -> &str {
        self.check(code)["verdict"].as_str().unwrap()
    }

    pub(crate) fn seen(&self, code: &str) -> &str {
        self.check(code)["seen"].as_str().unwrap()
    }

    /// The codes of all that is wrong or warned of.
    fn ill(&self) -> Vec<&str> {
        let checks = self.value["checks"].as_array().unwrap().iter();
        let ill = checks.filter(|it| it["verdict"] == "wrong" || it["verdict"] == "warning");
        ill.map(|it| it["code"].as_str().unwrap()).collect()
    }

    /// That exactly these are ill, and that the first is told so.
    pub(crate) fn names(&self, codes: &[&str], words: &str) {
        assert_eq!(self.ill(), codes, "{:#}", self.value);
        assert!(
            self.seen(codes[0]).contains(words),
            "{:#}",
            self.check(codes[0])
        );
        assert_ne!(
            self.check(codes[0])["todo"],
            "",
            "{:#}",
            self.check(codes[0])
        );
    }
}

fn doctor(environment: &[(&str, &str)], args: &[&str]) -> Report {
    let mut command = meshctl(&[&["doctor", "--json"], args].concat());
    command.envs(environment.iter().copied());
    Report::of(&run_command(command, ""))
}

/// A Consul and a mesh of two echo agents in it, with the environment of one who looks.
pub(crate) struct Patient {
    consul: Consul,
    mesh: Mesh,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Patient {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(environment: &[(&str, &str)]) -> Self {
        let consul = Consul::start().await;
        let address = consul.http().to_string();
        let registry = [
            ("CONSUL_HTTP_ADDR", &*address),
            ("SERVICE_HOST", "127.0.0.1"),
        ];
        let mesh = Mesh::up(&["--echo", "2"], &[&registry, environment].concat()).await;
        consul.wait_passing("agent-echo", 2).await;
        consul.wait_passing("mcp-router", 1).await;
        let environment = vec![
            ("CONSUL_HTTP_ADDR", address),
            ("MCP_ROUTER_ADDR", mesh.router.clone()),
        ];
        Self {
            consul,
            mesh,
            environment,
        }
    }

    pub(crate) fn look(&self) -> Report {
        self.look_with(&[])
    }

    fn look_with(&self, more: &[(&str, &str)]) -> Report {
        let own = self
            .environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        doctor(&own.chain(more.iter().copied()).collect::<Vec<_>>(), &[])
    }

    /// Looks until a check says this.
    pub(crate) async fn look_until(&self, code: &str, verdict: &str) -> Report {
        until(&format!("{code} is {verdict}"), LIMIT, async || {
            let report = self.look();
            (report.verdict(code) == verdict).then_some(report)
        })
        .await
    }

    /// Registers something beside the mesh, without a check unless there is one in it.
    pub(crate) async fn register(&self, registration: Value) {
        self.consul
            .put("agent/service/register", &registration)
            .await;
    }

    pub(crate) async fn deregister(&self, id: &str) {
        let path = format!("agent/service/deregister/{id}");
        self.consul.put(&path, &Value::Null).await;
    }
}

/// A registration of this service at a port of this machine.
pub(crate) fn registration(id: &str, service: &str, port: u16, meta: &Value) -> Value {
    json!({
        "ID": id, "Name": service, "Address": "127.0.0.1", "Port": port, "Tags": ["grpc"],
        "Meta": meta,
    })
}

/// A port that nobody listens on.
pub(crate) fn nobody() -> u16 {
    let [port] = testkit::ports::free();
    port
}

#[tokio::test]
async fn nothing_is_wrong_with_the_mesh_of_the_demo() {
    let mesh = Mesh::up(&DEMO, &[]).await;
    let report = doctor(&[("MCP_ROUTER_ADDR", &mesh.router)], &[]);
    assert_eq!(report.ill(), [""; 0], "{:#}", report.value);
    for check in report.value["checks"].as_array().unwrap() {
        let verdict = check["verdict"].as_str().unwrap();
        assert!(["well", "not used"].contains(&verdict), "{check:#}");
    }
    let text = mesh.run(&["doctor", "router", "consul"]).ok().stdout;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("consul  not used  "), "{text}");
    assert!(lines[1].starts_with("router  well      "), "{text}");
    assert_eq!(lines.len(), 2);
}

#[tokio::test]
async fn an_unknown_check_is_refused_with_the_known_ones() {
    let answer = run(&["doctor", "redsi"]);
    assert_eq!(answer.code, Some(2));
    for words in ["'redsi'", "redis", "grpc-names"] {
        assert!(answer.stderr.contains(words), "{answer:?}");
    }
    let answer = run(&["doctor", "--wait", "long"]);
    assert_eq!(answer.code, Some(2));
    assert!(
        answer.stderr.contains("--wait") && answer.stderr.contains("500ms"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_router_that_is_away_is_named() {
    let router = format!("127.0.0.1:{}", nobody());
    let consul = format!("127.0.0.1:{}", nobody());
    let here = [
        ("MCP_ROUTER_ADDR", &*router),
        ("CONSUL_HTTP_ADDR", &*consul),
    ];
    let report = doctor(&here, &["router", "consul", "instances"]);
    report.names(&["consul", "router"], &consul);
    assert!(report.seen("router").contains(&router));
    assert_eq!(report.verdict("instances"), "cannot tell");
    assert_eq!(report.code, Some(1));
    let report = doctor(&here, &["instances"]);
    assert_eq!(report.code, Some(2), "nothing is known to be wrong");
}

#[tokio::test]
async fn it_waits_until_all_is_well() {
    let router = format!("127.0.0.1:{}", nobody());
    let port = router.rsplit(':').next().unwrap().to_owned();
    let waiting = thread::spawn(move || {
        let report = doctor(
            &[("MCP_ROUTER_ADDR", &router)],
            &["router", "--wait", "30s"],
        );
        (report.code, report.value)
    });
    let mut command = meshctl(&["up", "--no-jobs", "--consul", "none", "--port", &port]);
    let _mesh = Process::start("meshctl", {
        command.stdin(Stdio::null());
        command
    });
    let (code, value) = waiting.join().unwrap();
    assert_eq!(code, Some(0), "{value:#}");
}

/// One mistake after the other, each taken back before the next.
#[tokio::test]
async fn what_is_wrong_with_the_instances_of_a_consul_is_named() {
    let mut patient = Patient::start().await;
    let report = patient.look_until("instances", "well").await;
    assert_eq!(report.ill(), [""; 0], "{:#}", report.value);
    assert_eq!(report.verdict("consul"), "well");

    // An instance whose check fails.
    let mut sick = registration("shop-1", "shop", nobody(), &json!({}));
    sick["Check"] = json!({ "TTL": "1h", "Status": "critical" });
    patient.register(sick).await;
    patient
        .look_until("instances", "wrong")
        .await
        .names(&["instances"], "shop-1");
    patient.deregister("shop-1").await;
    patient.look_until("instances", "well").await;

    // One that passes and cannot be reached.
    patient
        .register(registration("shop-1", "shop", nobody(), &json!({})))
        .await;
    patient
        .look_until("reachable", "wrong")
        .await
        .names(&["reachable"], "shop-1");
    patient.deregister("shop-1").await;
    patient.look_until("reachable", "well").await;

    // Two services with one gRPC service.
    let port = patient
        .mesh
        .router
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let meta = json!({ "grpc_services": "shop.Orders" });
    patient
        .register(registration("shop-1", "shop", port, &meta))
        .await;
    patient
        .register(registration("store-1", "store", port, &meta))
        .await;
    let report = patient.look_until("grpc-names", "wrong").await;
    report.names(&["grpc-names"], "shop.Orders by shop, store");
    patient.deregister("store-1").await;
    patient.look_until("grpc-names", "well").await;

    // Two versions of one service.
    let meta = |version: &str| json!({ "version": version });
    patient
        .register(registration("shop-1", "shop", port, &meta("1.0")))
        .await;
    patient
        .register(registration("shop-2", "shop", port, &meta("1.1")))
        .await;
    let report = patient.look_until("versions", "warning").await;
    report.names(&["versions"], "shop 1.0, 1.1");
    assert_eq!(report.code, patient.look_with(&[]).code);
    let strict = {
        let own = patient
            .environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        doctor(&own.collect::<Vec<_>>(), &["versions", "--strict"])
    };
    assert_eq!(strict.code, Some(1), "a warning counts");
    patient.deregister("shop-2").await;
    patient.look_until("versions", "well").await;

    // A clock that is ahead.
    let clock = wrong_clock(Duration::from_secs(5));
    let meta = json!({ "admin_port": clock.port().to_string() });
    patient
        .register(registration("shop-1", "shop", port, &meta))
        .await;
    let report = patient.look_until("clocks", "wrong").await;
    report.names(&["clocks"], "s ahead");
    patient.deregister("shop-1").await;
    patient.look_until("clocks", "well").await;

    // A setting that no program takes.
    let kv = "kv/mesh/services/agent-echo/lb_policy";
    patient.consul.put(kv, &json!("fastest")).await;
    let report = patient.look_until("settings", "wrong").await;
    report.names(&["settings"], "lb_policy");
    patient.consul.delete(kv).await;
    patient.look_until("settings", "well").await;

    // No Consul.
    patient.consul.kill();
    let report = patient.look_until("registry", "wrong").await;
    report.names(&["consul", "registry"], "no Consul answers");
    assert_eq!(
        report.verdict("router"),
        "well",
        "it goes on with what it knows"
    );
    assert_eq!(report.code, Some(1));
}

/// Answers every request, five seconds from now.
fn wrong_clock(ahead: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 1024];
            if stream.read(&mut asked).is_err() {
                continue;
            }
            let date = httpdate::fmt_http_date(SystemTime::now() + ahead);
            let head = format!("HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: 6\r\n");
            let answer = format!("{head}connection: close\r\n\r\nready\n");
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    address
}

#[tokio::test]
async fn a_consul_without_a_leader_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let command = |ports: [u16; 5]| {
        let [http, dns, server, lan, wan] = ports;
        let mut command = Command::new(tool("consul"));
        // The other two servers never come.
        command
            .args([
                "agent",
                "-server",
                "-bootstrap-expect=3",
                "-node=test",
                "-log-level=warn",
            ])
            .args(["-bind=127.0.0.1", "-client=127.0.0.1", "-grpc-port=-1"])
            .arg(format!("-data-dir={}", folder.path().display()))
            .arg(format!("-http-port={http}"))
            .arg(format!("-dns-port={dns}"))
            .arg(format!("-server-port={server}"))
            .arg(format!("-serf-lan-port={lan}"))
            .arg(format!("-serf-wan-port={wan}"));
        command
    };
    let answers = async |ports: [u16; 5]| {
        let url = format!("http://127.0.0.1:{}/v1/status/leader", ports[0]);
        testkit::http_client::get(&url).await.is_some()
    };
    let (ports, _consul) = Process::on_free_ports("consul", LIMIT, command, answers).await;
    let address = format!("127.0.0.1:{}", ports[0]);
    let report = doctor(&[("CONSUL_HTTP_ADDR", &address)], &["consul"]);
    report.names(&["consul"], "has no leader");
}

#[tokio::test]
async fn a_token_without_a_right_is_named_with_the_right() {
    let acl = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" } }"#;
    let consul = Consul::start_with(&[acl]).await;
    let address = consul.http().to_string();
    let ask = async |path: &str, body: Value| {
        let url = format!("http://{address}/v1/{path}");
        let sent = reqwest::Client::new()
            .put(url)
            .header("X-Consul-Token", MASTER);
        let text = sent
            .body(body.to_string())
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        serde_json::from_str::<Value>(&text).unwrap_or(Value::Null)
    };
    // The master token exists only once the agent leads.
    let it = registration("shop-1", "shop", nobody(), &json!({}));
    until("a registration is taken", LIMIT, async || {
        ask("agent/service/register", it.clone()).await;
        let known = ask("acl/policy", json!({ "Name": "nothing" })).await;
        known["ID"].is_string().then_some(())
    })
    .await;
    ask("agent/service/register", it.clone()).await;
    let rights = ["service_prefix", "node_prefix", "key_prefix"];
    let mut all = String::new();
    for (number, left_out) in rights.into_iter().chain(["nothing"]).enumerate() {
        let kept = rights.iter().filter(|right| **right != left_out);
        let rules: Vec<_> = kept
            .map(|right| format!("{right} \"\" {{ policy = \"read\" }}"))
            .collect();
        let name = format!("without-{number}");
        ask(
            "acl/policy",
            json!({ "Name": name, "Rules": rules.join("\n") }),
        )
        .await;
        let token = ask("acl/token", json!({ "Policies": [{ "Name": name }] })).await;
        let token = token["SecretID"].as_str().unwrap().to_owned();
        let environment = [
            ("CONSUL_HTTP_ADDR", &*address),
            ("CONSUL_HTTP_TOKEN", &*token),
        ];
        let report = doctor(&environment, &["token"]);
        match left_out.strip_suffix("_prefix") {
            Some(right) => report.names(&["token"], right),
            None => assert_eq!(report.verdict("token"), "well", "{:#}", report.value),
        }
        all += report.seen("token");
    }
    assert!(!all.contains("(500"), "{all}");
    let wrong = [
        ("CONSUL_HTTP_ADDR", &*address),
        ("CONSUL_HTTP_TOKEN", "nobody"),
    ];
    doctor(&wrong, &["token"]).names(&["token"], "ACL not found");
}

#[tokio::test]
async fn what_is_wrong_with_a_redis_is_named() {
    let codes = ["redis", "redis-eviction", "redis-aof", "clocks"];
    let mut redis = Redis::start(&["--appendonly", "yes"]).await;
    let url = redis.url();
    let look = || doctor(&[("REDIS_URL", &*url)], &codes);
    let report = look();
    assert_eq!(report.ill(), [""; 0], "{:#}", report.value);
    assert_eq!(report.code, Some(0));

    assert_eq!(
        redis.command("CONFIG SET maxmemory-policy allkeys-lru"),
        "+OK"
    );
    look().names(&["redis-eviction"], "allkeys-lru");
    assert_eq!(
        redis.command("CONFIG SET maxmemory-policy noeviction"),
        "+OK"
    );

    assert_eq!(redis.command("CONFIG SET maxmemory 1"), "+OK");
    look().names(&["redis-eviction"], "over 90 % of maxmemory");
    assert_eq!(redis.command("CONFIG SET maxmemory 0"), "+OK");

    assert_eq!(redis.command("CONFIG SET appendonly no"), "+OK");
    look().names(&["redis-aof"], "appendonly is off");
    assert_eq!(redis.command("CONFIG SET appendonly yes"), "+OK");

    redis.kill();
    let report = look();
    report.names(&["redis"], "cannot be reached");
    assert_eq!(report.verdict("redis-aof"), "cannot tell");
}

#[tokio::test]
async fn a_router_that_haproxy_does_not_see_is_named() {
    let patient = Patient::start().await;
    let haproxy = HaProxy::start(patient.consul.dns()).await;
    haproxy.wait_up(1).await;
    let stats = haproxy.stats().to_string();
    let stats = [("HAPROXY_STATS", &*stats)];
    let report = patient.look_with(&stats);
    assert_eq!(report.verdict("haproxy"), "well", "{:#}", report.value);

    // Consul believes it, since nothing checks it.
    let port = nobody();
    let mut lost = registration("router-2", "mcp-router", port, &json!({ "kind": "router" }));
    lost["Tags"] = json!(["router"]);
    patient.register(lost).await;
    let report = patient.look_with(&stats);
    report.names(
        &["haproxy", "reachable"],
        &format!("router-2 at 127.0.0.1:{port}"),
    );

    let gone = format!("127.0.0.1:{}", nobody());
    let report = doctor(&[("HAPROXY_STATS", &*gone)], &["haproxy"]);
    report.names(&["haproxy"], "no HAProxy answers");
}

#[tokio::test]
async fn a_collector_that_takes_nothing_is_named() {
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let gone = format!("http://127.0.0.1:{}", nobody());
    for (endpoint, protocol) in [(&silent, "grpc"), (&gone, "grpc"), (&gone, "http/protobuf")] {
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &**endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ];
        doctor(&environment, &["collector"]).names(&["collector"], endpoint);
    }
}

#[tokio::test]
async fn a_certificate_near_its_end_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // One day is left of a test's certificates.
    let [file, _] = Certificate::for_host("localhost").write(folder.path(), "ca");
    let file = file.display().to_string();
    let report = doctor(&[("CONSUL_CACERT", &*file)], &["certificates"]);
    report.names(&["certificates"], "ca.pem #1 ends in 0 days");
    assert_eq!(report.code, Some(0), "it warns");
}

#[tokio::test]
async fn a_full_disk_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    // A file system of its own for one process, as the kernel lets users make them.
    let script = "mount -t tmpfs -o size=64k none \"$OUT_DIR\" || exit 77
        head -c 100k /dev/zero >\"$OUT_DIR/full\" 2>/dev/null; exec \"$0\" doctor disks --json";
    let mut command = Command::new("unshare");
    command
        .args([
            "-r",
            "-m",
            "sh",
            "-c",
            script,
            env!("CARGO_BIN_EXE_meshctl"),
        ])
        .env("OUT_DIR", &path);
    let answer = run_command(command, "");
    if answer.stdout.is_empty() {
        eprintln!("this machine lets nobody mount: {}", answer.stderr);
        return;
    }
    let report = Report::of(&answer);
    report.names(&["disks"], &path);
    assert_eq!(report.verdict("disks"), "wrong");
}

#[tokio::test]
async fn a_program_near_its_limit_of_files_is_named() {
    let mut command = Command::new("sh");
    let up = "ulimit -n 64; exec \"$0\" up --no-jobs --consul none --port 0 --json --weather 2";
    command.args(["-c", up, env!("CARGO_BIN_EXE_meshctl")]);
    let mut mesh = Process::start("meshctl", command);
    let router = mesh
        .wait_for_line(LIMIT, |line| {
            let told: Value = serde_json::from_str(line).ok()?;
            Some(told["router"].as_str()?.to_owned())
        })
        .await;
    let report = doctor(&[("MCP_ROUTER_ADDR", &router)], &["file-limits"]);
    report.names(&["file-limits"], "64 files");
}
