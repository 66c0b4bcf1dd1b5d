//! A real Jaeger of a test's own: collector, memory and query API in one process.

use std::{path::PathBuf, process::Command, time::Duration};

use serde_json::Value;

use crate::{Process, Signal, http_client, tools};

const START: Duration = Duration::from_secs(30);

/// Jaeger's all-in-one.
#[derive(Debug)]
pub struct Jaeger {
    otlp: u16,
    otlp_http: u16,
    query: u16,
    scheme: &'static str,
    process: Process,
}

impl Jaeger {
    /// Starts one and waits until it answers queries.
    pub async fn start() -> Self {
        Self::start_with("http", &[]).await
    }

    /// The same that takes spans over TLS only, with a certificate and its key.
    pub async fn with_tls([certificate, key]: &[PathBuf; 2]) -> Self {
        let flags = ["grpc", "http"].map(|carrier| {
            let flag =
                |name: &str, value: &str| format!("--collector.otlp.{carrier}.tls.{name}={value}");
            [
                flag("enabled", "true"),
                flag("cert", &certificate.display().to_string()),
                flag("key", &key.display().to_string()),
            ]
        });
        Self::start_with("https", &flags.concat()).await
    }

    async fn start_with(scheme: &'static str, flags: &[String]) -> Self {
        let serves = async |ports: [u16; 11]| {
            let page = http_client::get(&format!("http://127.0.0.1:{}/", ports[1])).await;
            page.is_some_and(|(code, _)| code == 200)
        };
        let command = |ports| {
            let mut command = command(ports);
            command.args(flags);
            command
        };
        let (ports, process) = Process::on_free_ports("jaeger", START, command, serves).await;
        Self {
            otlp: ports[0],
            otlp_http: ports[2],
            query: ports[1],
            scheme,
            process,
        }
    }

    /// Sends it a signal: SIGSTOP leaves its ports open, and nobody answers.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Where it takes spans, for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.otlp)
    }

    /// The same for `OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf`.
    #[must_use]
    pub fn http_endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.otlp_http)
    }

    /// The traces that a service has a part in, as many as Jaeger gives when nobody says how many.
    pub async fn traces(&self, service: &str) -> Vec<Value> {
        self.query(&format!("service={service}")).await
    }

    /// All of them.
    pub async fn all_traces(&self, service: &str) -> Vec<Value> {
        self.query(&format!("service={service}&limit=10000")).await
    }

    async fn query(&self, query: &str) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/api/traces?{query}", self.query);
        let answer = http_client::json(&url).await.unwrap_or_default();
        answer["data"].as_array().cloned().unwrap_or_default()
    }
}

fn command([otlp, query, others @ ..]: [u16; 11]) -> Command {
    let local = |port: u16| format!("127.0.0.1:{port}");
    let flags = [
        ("collector.otlp.grpc.host-port", local(otlp)),
        ("query.http-server.host-port", local(query)),
        ("collector.otlp.http.host-port", local(others[0])),
        ("query.grpc-server.host-port", local(others[1])),
        ("collector.grpc-server.host-port", local(others[2])),
        ("collector.http-server.host-port", local(others[3])),
        ("admin.http.host-port", local(others[4])),
        ("processor.jaeger-binary.server-host-port", local(others[5])),
        (
            "processor.jaeger-compact.server-host-port",
            local(others[6]),
        ),
        (
            "processor.zipkin-compact.server-host-port",
            local(others[8]),
        ),
        ("http-server.host-port", local(others[7])),
        ("collector.otlp.enabled", "true".to_owned()),
        ("log-level", "warn".to_owned()),
    ];
    let mut command = Command::new(tools::tool("all-in-one"));
    command
        .env("SPAN_STORAGE_TYPE", "memory")
        .args(flags.map(|(flag, value)| format!("--{flag}={value}")));
    command
}
