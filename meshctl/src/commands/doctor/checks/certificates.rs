//! No certificate is near its end.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use http::Uri;
use tokio::{net::TcpStream, time::timeout};

use super::super::{
    check::Check,
    finding::{Finding, some},
    pem,
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "certificates",
    about: "no certificate of Consul, Redis or the collector ends within 14 days",
    run: |scene| Box::pin(look(scene)),
};

/// How long before its end a certificate should be renewed.
const SOON: Duration = Duration::from_secs(14 * 86_400);
const CONNECT: Duration = Duration::from_secs(2);
/// The keys that name PEM files of certificates.
const FILES: [&str; 4] = [
    "consul_cacert",
    "consul_client_cert",
    "redis_cacert",
    "otlp_certificate",
];

async fn look(scene: &Scene) -> Finding {
    let (mut ends, mut unseen) = (BTreeMap::new(), Vec::new());
    for path in files(scene) {
        let name = path.display().to_string();
        match std::fs::read_to_string(&path) {
            // Of another machine, or another user's: who uses it says so when it cannot.
            Err(error) => unseen.push(format!("{name}: {error}")),
            Ok(text) => {
                for (at, end) in pem::ends(&text).into_iter().enumerate() {
                    ends.insert(format!("{name} #{}", at + 1), end);
                }
            }
        }
    }
    for (host, port) in servers(scene) {
        let name = format!("{host}:{port}");
        match timeout(CONNECT, served(&host, port)).await {
            Ok(Ok(end)) => drop(ends.insert(name, end)),
            Ok(Err(reason)) => unseen.push(format!("{name}: {reason}")),
            Err(_) => unseen.push(format!("{name}: no answer")),
        }
    }
    let (mut over, mut soon) = (Vec::new(), Vec::new());
    for (name, end) in &ends {
        match end.duration_since(SystemTime::now()) {
            Err(_) => over.push(format!("{name} is over")),
            Ok(left) if left < SOON => {
                soon.push(format!("{name} ends in {} days", left.as_secs() / 86_400));
            }
            Ok(_) => {}
        }
    }
    let todo = "renew it, and start again what reads it";
    match (over.as_slice(), soon.as_slice(), unseen.as_slice()) {
        ([], [], []) if ends.is_empty() => Finding::not_used("no connection uses TLS"),
        ([], [], []) => Finding::well(format!("{} certificates are good for 14 days", ends.len())),
        ([], [], unseen) => Finding::cannot_tell(
            format!("not seen: {}", some(unseen)),
            "run this where the files are, and where the servers can be reached",
        ),
        ([], soon, _) => Finding::warning(some(soon), todo),
        (over, ..) => Finding::wrong(some(over), todo),
    }
}

/// The files that the environment names, and those of the programs on this machine.
fn files(scene: &Scene) -> Vec<PathBuf> {
    let variable = |key: &str| scene.environment.get(&key.to_uppercase()).cloned();
    let mut files: Vec<String> = FILES.iter().filter_map(|key| variable(key)).collect();
    for program in &scene.programs {
        files.extend(
            FILES
                .iter()
                .filter_map(|key| program.key(key))
                .map(str::to_owned),
        );
    }
    files.retain(|path| !path.is_empty());
    files.sort();
    files.dedup();
    files.into_iter().map(PathBuf::from).collect()
}

/// The servers that are spoken to over TLS.
fn servers(scene: &Scene) -> Vec<(String, u16)> {
    let mut urls = Vec::new();
    if scene.without_consul.is_none() && scene.consul.reader.is_encrypted() {
        urls.push((scene.consul.reader.address().to_owned(), 443));
    }
    let variable = |name: &str| scene.environment.get(name).cloned();
    let endpoints = scene
        .programs
        .iter()
        .filter_map(|it| it.key("otlp_endpoint"));
    let endpoints = endpoints
        .map(str::to_owned)
        .chain(variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
    urls.extend(
        endpoints
            .filter(|it| it.starts_with("https://"))
            .map(|it| (it, 4317)),
    );
    if let Ok(Some(redis)) = scene.queue()
        && redis.starts_with("rediss://")
    {
        urls.push((redis, 6379));
    }
    let mut servers: Vec<(String, u16)> = urls
        .into_iter()
        .filter_map(|(url, default)| {
            let uri: Uri = url.parse().ok()?;
            let host = uri.host()?.trim_matches(['[', ']']).to_owned();
            Some((host, uri.port_u16().unwrap_or(default)))
        })
        .collect();
    servers.sort();
    servers.dedup();
    servers
}

/// When the certificate that a server shows ends.
async fn served(host: &str, port: u16) -> Result<SystemTime, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|it| text(&it))?;
    // It is only looked at. Those who rely on it check it.
    let connector = native_tls::TlsConnector::builder()
        .danger_accept_invalid_certs(true)
        .danger_accept_invalid_hostnames(true)
        .build()
        .map_err(|it| text(&it))?;
    let connector = tokio_native_tls::TlsConnector::from(connector);
    let stream = connector
        .connect(host, stream)
        .await
        .map_err(|it| text(&it))?;
    let shown = stream
        .get_ref()
        .peer_certificate()
        .map_err(|it| text(&it))?;
    let shown = shown.ok_or_else(|| "it shows no certificate".to_owned())?;
    let der = shown.to_der().map_err(|it| text(&it))?;
    pem::end(&der).ok_or_else(|| "its certificate cannot be read".to_owned())
}
