//! `meshctl doctor`: each mistake is planted for real, alone, and named by its code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod around;

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
