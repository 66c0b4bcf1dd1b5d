//! What is wrong around the instances: Consul itself, Redis, HAProxy, the collector, and this machine.

use super::*;

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
