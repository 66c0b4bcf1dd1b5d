//! Every collector takes traces.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use http::{Uri, uri::PathAndQuery};
use proto::details::CheckedDetails;
use tokio::{net::TcpStream, time::timeout};
use tonic::{Code, Request, transport::Endpoint};

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "collector",
    about: "the OTLP collector takes traces, and no program drops any",
    run: |scene| Box::pin(look(scene)),
};

/// How long a collector may take.
const LIMIT: Duration = Duration::from_secs(3);
const EXPORT: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");

async fn look(scene: &Scene) -> Finding {
    let mut endpoints: BTreeMap<String, String> = BTreeMap::new();
    for program in &scene.programs {
        if let Some(endpoint) = program.key("otlp_endpoint") {
            let protocol = program.key("otlp_protocol").unwrap_or("grpc");
            endpoints.insert(endpoint.to_owned(), protocol.to_owned());
        }
    }
    if endpoints.is_empty()
        && let Some(endpoint) = scene.environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        && !endpoint.is_empty()
    {
        let protocol = scene.environment.get("OTEL_EXPORTER_OTLP_PROTOCOL");
        let protocol = protocol.map_or("grpc", String::as_str);
        endpoints.insert(endpoint.clone(), protocol.to_owned());
    }
    if endpoints.is_empty() {
        return Finding::not_used("no program has an OTEL_EXPORTER_OTLP_ENDPOINT");
    }
    let tried = endpoints.iter().map(|(endpoint, protocol)| async move {
        let sent = timeout(LIMIT, send(endpoint, protocol)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}")));
        sent.err().map(|reason| format!("{endpoint}: {reason}"))
    });
    let failed: Vec<String> = join_all(tried).await.into_iter().flatten().collect();
    if !failed.is_empty() {
        return Finding::wrong(
            some(&failed),
            "start the collector or correct OTEL_EXPORTER_OTLP_ENDPOINT: spans are dropped meanwhile",
        );
    }
    let all: Vec<&String> = endpoints.keys().collect();
    Finding::well(format!("{} takes traces", some(&all)))
}

/// Sends an export without spans.
async fn send(endpoint: &str, protocol: &str) -> Result<(), String> {
    let uri: Uri = endpoint.parse().map_err(|_| "it is no URL".to_owned())?;
    if uri.scheme_str() == Some("https") {
        // What it takes is between it and the programs, which have the certificates.
        return connect(&uri).await;
    }
    match protocol.starts_with("http") {
        true => over_http(endpoint).await,
        false => over_grpc(endpoint).await,
    }
}

async fn connect(uri: &Uri) -> Result<(), String> {
    let (host, port) = (
        uri.host().unwrap_or_default(),
        uri.port_u16().unwrap_or(443),
    );
    let host = host.trim_matches(['[', ']']);
    let connected = TcpStream::connect((host, port)).await;
    connected.map(drop).map_err(|error| error.to_string())
}

async fn over_grpc(endpoint: &str) -> Result<(), String> {
    let channel = Endpoint::from_shared(endpoint.to_owned()).map_err(|error| error.to_string())?;
    let channel = channel
        .connect()
        .await
        .map_err(|error| telemetry::root_cause(&error))?;
    let mut client = tonic::client::Grpc::new(CheckedDetails(channel));
    client
        .ready()
        .await
        .map_err(|error| telemetry::root_cause(&error))?;
    // No bytes are the message without spans, and a good answer has no field that counts here.
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    match client.unary(Request::new(()), EXPORT, codec).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::Unimplemented => {
            Err("it takes no traces over gRPC".to_owned())
        }
        Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
    }
}

async fn over_http(endpoint: &str) -> Result<(), String> {
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let http = reqwest::Client::builder()
        .use_rustls_tls()
        .tls_built_in_root_certs(false)
        .no_proxy()
        .build()
        .map_err(|error| error.to_string())?;
    let request = http
        .post(url)
        .header("content-type", "application/x-protobuf");
    let answer = crate::admin::read(request.body("")).await?;
    match answer.status {
        200..300 => Ok(()),
        status => Err(format!("it says {status} to /v1/traces")),
    }
}
