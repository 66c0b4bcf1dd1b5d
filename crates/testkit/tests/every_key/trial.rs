//! One program with one value.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use mesh_testkit::{Process, Signal, raw::RawConnection, tools};
use serde_json::Value;
use service::{Key, Spec};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// How long a program may take to serve, or to end, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(40);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(15);

/// What every program is started with unless the key is the one that is tried.
const BASE: &[(&str, &str)] = &[
    ("listen_address", "127.0.0.1"),
    ("admin_address", "127.0.0.1"),
    ("service_host", "127.0.0.1"),
    ("discovery", "memory"),
    ("pprof_port", "0"),
    ("drain_delay", "0s"),
    ("drain_timeout", "1s"),
    ("log_format", "json"),
    ("jobs_path", "DIR/jobs"),
    ("jobs_sync", "never"),
    ("workflows_path", "DIR/workflows"),
    ("out_dir", "DIR/out"),
    ("docs_dir", "DIR"),
    ("mount_name", "small"),
    ("mount_command", tools::MCP_SERVER),
];

/// Keys whose least value leaves no room for a call: it is refused in words that name the key.
const REFUSING: [&str; 2] = ["max_header_bytes", "max_message_bytes"];
/// What a key needs beside it, as its help says.
const COMPANIONS: &[(&str, &str, &str)] = &[
    ("mcp_auth", "mcp_issuer", "https://login.example"),
    ("mcp_auth", "mcp_jwks_url", "http://127.0.0.1:1/jwks"),
    ("mcp_auth", "mcp_resource", "http://localhost:3000/mcp"),
    ("mcp_auth", "mcp_tokens", "DIR/tokens.toml"),
    ("model_url", "model_name", "small"),
    ("provider", "allow_external_requests", "yes"),
];
/// Keys with which a program cannot say that it is ready.
const STORES: [&str; 6] = [
    "mount_url",
    "redis_url",
    "redis_host",
    "redis_port",
    "database_url",
    "postgres_host",
];

/// A program, and the one value that is not as ever.
pub(crate) struct Trial {
    pub(crate) spec: &'static Spec,
    pub(crate) key: Key,
    pub(crate) value: String,
}

/// Where a program listens.
#[derive(Debug)]
struct Ports {
    admin: SocketAddr,
    others: Vec<SocketAddr>,
}

impl Trial {
    pub(crate) async fn run(self) -> Result<(), String> {
        let folder = TempDir::with_prefix("key-").unwrap();
        for file in ["schedule.toml", "tokens.toml"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let here = |value: &str| value.replace("DIR", &folder.path().display().to_string());
        let keys = self.spec.all_keys();
        let mut command = Command::new(tools::program(self.spec.program));
        command
            .current_dir(folder.path())
            .env(self.spec.port_env, "0");
        for (name, value) in BASE {
            if let Some(key) = keys.iter().find(|key| key.name == *name) {
                command.env(key.env_name(), here(value));
            }
        }
        for (_, with, value) in COMPANIONS
            .iter()
            .filter(|(name, ..)| *name == self.key.name)
        {
            command.env(with.to_uppercase(), here(value));
        }
        // One store at a time.
        if STORES.contains(&self.key.name) {
            command.env_remove("JOBS_PATH");
        }
        if self.key.name == "jobs_path" {
            command.env_remove("REDIS_URL");
        }
        // One server at a time.
        if self.key.name == "mount_url" {
            command.env_remove("MOUNT_COMMAND");
        }
        let value = here(&self.value);
        command.env(self.key.env_name(), &value);
        let mut process = Process::start(self.spec.program, command);
        let outcome = self.check(&mut process, &value).await;
        let log = process.log();
        if log.contains("panicked") {
            return Err(format!("it panicked:\n{}", last_lines(&log)));
        }
        outcome.map_err(|why| format!("{why}\n{}", last_lines(&log)))
    }

    async fn check(&self, process: &mut Process, value: &str) -> Result<(), String> {
        let ports = self.wait_until_listening(process).await?;
        self.check_reported_value(ports.admin, value).await?;
        self.check_call_served(&ports).await?;
        self.check_effect(process, &ports, value)?;
        let mut status = http1(ports.admin, "/readyz").await?.0;
        // It is ready once its server has said what it is.
        let begun = Instant::now();
        while self.spec.program == "mcp-mount" && status == 503 && begun.elapsed() < ANSWER_TIMEOUT
        {
            sleep(POLL_INTERVAL).await;
            status = http1(ports.admin, "/readyz").await?.0;
            if self.key.name == "mount_url" {
                break;
            }
        }
        // What a runner or a router cannot do without is not there in these trials.
        let away = self.key.name == "discovery" || STORES.contains(&self.key.name);
        if status != 200 && !(away && status == 503) {
            return Err(format!("it is about to leave: /readyz says {status}"));
        }
        process.signal(Signal::Terminate);
        let begun = Instant::now();
        let mut asked_again = self.key.name != "drain_delay";
        loop {
            if let Some(status) = process.exit_status() {
                return match status.code() {
                    Some(0) => Ok(()),
                    _ => Err(format!("it ended with {status}")),
                };
            }
            if !asked_again && begun.elapsed() > Duration::from_secs(1) {
                // Its delay is a year: a second request to leave is not delayed.
                asked_again = true;
                process.signal(Signal::Terminate);
            }
            if begun.elapsed() > START_TIMEOUT {
                return Err("it does not end".to_owned());
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until it serves.
    async fn wait_until_listening(&self, process: &mut Process) -> Result<Ports, String> {
        let begun = Instant::now();
        loop {
            let listeners = listeners(process.pid());
            if listeners.len() >= 2 {
                for admin in &listeners {
                    let told = http1(*admin, "/config").await;
                    if told
                        .is_ok_and(|(status, text)| status == 200 && text.contains("metrics_port"))
                    {
                        let others = listeners.iter().filter(|it| *it != admin);
                        return Ok(Ports {
                            admin: *admin,
                            others: others.copied().collect(),
                        });
                    }
                }
            }
            if let Some(status) = process.exit_status() {
                return Err(format!("it does not start: {status}"));
            }
            if begun.elapsed() > START_TIMEOUT {
                return Err(format!("it does not serve: {listeners:?}"));
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// The value is the one in effect.
    async fn check_reported_value(&self, admin: SocketAddr, value: &str) -> Result<(), String> {
        let (_, text) = http1(admin, "/config").await?;
        let config: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let said = &config[self.key.name];
        let expected = match (value, self.key.secret) {
            // An empty variable is none.
            ("", _) => return Ok(()),
            (_, true) => "(secret)",
            (value, false) => value,
        };
        let source = format!("environment {}", self.key.env_name());
        if said["value"] != expected || said["source"] != source.as_str() {
            return Err(format!("/config says {said}"));
        }
        let expected = if self.key.name == "enable_metrics" && value == "no" {
            404
        } else {
            200
        };
        let (status, _) = http1(admin, "/metrics").await?;
        if status != expected {
            return Err(format!("/metrics says {status}"));
        }
        if self.key.name == "log_level" {
            let (_, level) = http1(admin, "/log-level").await?;
            if level.trim() != value {
                return Err(format!("/log-level says {level}"));
            }
        }
        Ok(())
    }

    /// What the value changes that can be seen from outside, where `effects.rs` says so.
    fn check_effect(&self, process: &Process, ports: &Ports, value: &str) -> Result<(), String> {
        let is_v6 = value.contains(':');
        let listens = |addresses: &[SocketAddr]| addresses.iter().all(|it| it.is_ipv6() == is_v6);
        let yes = ["true", "yes"].contains(&value);
        let log = process.log();
        let holds = match self.key.name {
            "listen_address" => listens(&ports.others),
            "admin_address" => listens(&[ports.admin]),
            "enable_pprof" => log.contains("profiles are not built into") == yes,
            "log_format" => log.starts_with('{') == (value != "text"),
            "log_level" => log.contains("serving") == ["debug", "info"].contains(&value),
            "workers" => log.contains(&format!("\"workers\":{value}")),
            "relay_threads" => threads(process.pid(), "relay") == value.parse().unwrap_or(0),
            _ => true,
        };
        match holds {
            true => Ok(()),
            false => Err(format!(
                "{} = {value} has no effect: {ports:?}",
                self.key.name
            )),
        }
    }

    /// Its port answers a call: of gRPC, or where it speaks HTTP a request.
    async fn check_call_served(&self, ports: &Ports) -> Result<(), String> {
        let mut seen = Vec::new();
        for port in &ports.others {
            // 505: it speaks gRPC, and says so to HTTP/1.1.
            if let Ok((status, _)) = http1(*port, "/readyz").await
                && status != 505
            {
                let ill = STORES.contains(&self.key.name) && status == 503;
                if status == 200 || ill {
                    return Ok(());
                }
                seen.push(format!("{port}: HTTP {status}"));
                continue;
            }
            let port = *port;
            // A connection that ends is told, and fails no other trial.
            let mut calls = JoinSet::new();
            calls.spawn(async move {
                let mut raw = RawConnection::connect(port).await;
                let answer = raw.call("/grpc.health.v1.Health/Check", &[], &[]).await;
                answer.status
            });
            let status = match timeout(ANSWER_TIMEOUT, calls.join_next()).await {
                Ok(Some(Ok(status))) => status,
                Ok(_) => {
                    seen.push(format!("{port}: the connection ended"));
                    continue;
                }
                Err(_) => {
                    seen.push(format!("{port}: no answer"));
                    continue;
                }
            };
            let refused = REFUSING.contains(&self.key.name)
                && status.code() == tonic::Code::ResourceExhausted;
            if status.code() == tonic::Code::Ok || refused {
                return Ok(());
            }
            seen.push(format!("{port}: {status}"));
        }
        Err(format!("no call is served: {seen:?}"))
    }
}

/// How many threads of a process have a name that begins so.
fn threads(pid: u32, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().filter_map(Result::ok);
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|it| it.starts_with(name)).count()
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(3);
    lines[from..].join("\n")
}

/// The status and the body of an answer of HTTP/1.1.
async fn http1(at: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let ask = async {
        let mut stream = TcpStream::connect(at).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(ANSWER_TIMEOUT, ask)
        .await
        .map_err(|_| format!("{path}: no answer"))?
        .map_err(|error| format!("{path}: {error}"))?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(|| format!("{path}: no HTTP/1.1"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// Where a process listens, as Linux tells it.
fn listeners(pid: u32) -> Vec<SocketAddr> {
    let folder = format!("/proc/{pid}");
    let Ok(files) = fs::read_dir(format!("{folder}/fd")) else {
        return Vec::new();
    };
    let sockets: BTreeSet<String> = files
        .filter_map(|file| {
            let target = fs::read_link(file.ok()?.path()).ok()?;
            let inode = target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(Path::new(&folder).join("net").join(table)).ok())
        .flat_map(|table| {
            let lines = table.lines().skip(1);
            let rows = lines.filter_map(|line| listener(line, &sockets));
            rows.collect::<Vec<_>>()
        })
        .collect()
}

fn listener(line: &str, sockets: &BTreeSet<String>) -> Option<SocketAddr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    if *state != "0A" || !sockets.contains(*inode) {
        return None;
    }
    let (ip, port) = address.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let any = ip.bytes().all(|digit| digit == b'0');
    let ip: IpAddr = match (ip.len(), any) {
        (8, true) => Ipv4Addr::LOCALHOST.into(),
        (8, false) => Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.swap_bytes()).into(),
        // Of IPv6 the loopback address is enough.
        _ => Ipv6Addr::LOCALHOST.into(),
    };
    Some(SocketAddr::new(ip, port))
}
