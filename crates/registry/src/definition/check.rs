//! What is sent to register a check, alone or with a service.

use std::time::Duration;

use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;

use super::fields::Fields;

/// Consul's shortest interval between two runs of a check.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// Consul's shortest time after which a critical service is deregistered.
pub(super) const LEAST_DEREGISTER: Duration = Duration::from_secs(60);
/// Longest time for one run of a check without a `Timeout`.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Fields of a check that this registry ignores, or that only some probes read.
const CHECK_IGNORED: &[&str] = &[
    "disableredirects",
    "failuresbeforewarning",
    "grpcusetls",
    "interval",
    "namespace",
    "node",
    "ns",
    "outputmaxsize",
    "partition",
    "service",
    "shell",
    "tlsservername",
    "token",
    "type",
    "header",
    "method",
    "body",
    "http",
    "tcp",
    "grpc",
];

/// The result of a check, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    Passing,
    Warning,
    Critical,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Passing, Self::Warning, Self::Critical]
            .into_iter()
            .find(|status| status.name() == name)
    }
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// gRPC health of `host:port`, of one service or of all (empty).
    Grpc { target: String, service: String },
    /// A request: 2xx passes, 429 warns.
    Http(HttpRequest),
    /// A connection to `host:port`.
    Tcp(String),
    /// A result is reported at least this often.
    Ttl(Duration),
}

/// The request of an HTTP check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpRequest {
    url: reqwest::Url,
    method: Method,
    headers: HeaderMap,
    body: String,
}

impl HttpRequest {
    pub(crate) async fn send(
        &self,
        client: &reqwest::Client,
    ) -> reqwest::Result<reqwest::Response> {
        let request = client.request(self.method.clone(), self.url.clone());
        let request = request.headers(self.headers.clone());
        request.body(self.body.clone()).send().await
    }
}

impl std::fmt::Display for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HTTP {} {}", self.method, self.url)
    }
}

/// A check as it was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckDefinition {
    /// Empty for a check that is named after its service.
    pub(crate) id: String,
    pub(crate) name: String,
    /// The service of a check that is registered alone; empty for a check of the node.
    pub(crate) service_id: String,
    pub(crate) notes: String,
    pub(crate) status: Option<Status>,
    pub(crate) probe: Probe,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) deregister_after: Option<Duration>,
    /// How many successes, or failures, in a row are ignored.
    pub(crate) successes: u64,
    pub(crate) failures: u64,
}

impl CheckDefinition {
    pub(crate) fn read(body: Value) -> Result<Self, String> {
        let mut fields = Fields::new(body)?;
        let id = match fields.text("checkid")? {
            none if none.is_empty() => fields.text("id")?,
            id => id,
        };
        let status =
            match fields.text("status")?.as_str() {
                "" => None,
                name => Some(Status::from_name(name).ok_or_else(|| {
                    format!("Status {name:?} is none of passing, warning, critical")
                })?),
            };
        let interval = fields.duration("interval")?;
        let timeout = fields.duration("timeout")?;
        let deregister_after = fields.duration("deregistercriticalserviceafter")?;
        let ttl = fields.duration("ttl")?;
        let (grpc, http, tcp) = (
            fields.text("grpc")?,
            fields.text("http")?,
            fields.text("tcp")?,
        );
        if interval.is_some() && ttl.is_some() {
            return Err("Interval and TTL cannot both be specified".to_owned());
        }
        let probe = if let Some(ttl) = ttl.filter(|ttl| !ttl.is_zero()) {
            Probe::Ttl(ttl)
        } else if !grpc.is_empty() {
            if fields.is_true("grpcusetls") {
                return Err("GRPCUseTLS is not supported by this registry".to_owned());
            }
            let (target, service) = grpc.split_once('/').unwrap_or((&grpc, ""));
            Probe::Grpc {
                target: target.to_owned(),
                service: service.to_owned(),
            }
        } else if !http.is_empty() {
            Probe::Http(HttpRequest {
                url: http
                    .parse()
                    .map_err(|error| format!("HTTP {http:?}: {error}"))?,
                method: match fields.text("method")?.as_str() {
                    "" => Method::GET,
                    name => name
                        .parse()
                        .map_err(|_| format!("Method {name:?} is none"))?,
                },
                headers: read_headers(fields.take("header"))?,
                body: fields.text("body")?,
            })
        } else if !tcp.is_empty() {
            Probe::Tcp(tcp)
        } else {
            return Err("a check needs one of TTL, GRPC, HTTP and TCP".to_owned());
        };
        if interval.is_none_or(|it| it.is_zero()) && !matches!(probe, Probe::Ttl(_)) {
            return Err("Interval must be > 0 for GRPC, HTTP, or TCP checks".to_owned());
        }
        let read = Self {
            id,
            name: fields.text("name")?,
            service_id: fields.text("serviceid")?,
            notes: fields.text("notes")?,
            status,
            probe,
            interval: interval.unwrap_or(LEAST_INTERVAL).max(LEAST_INTERVAL),
            timeout: timeout.filter(|it| !it.is_zero()).unwrap_or(TIMEOUT),
            deregister_after: deregister_after
                .filter(|after| !after.is_zero())
                .map(|after| after.max(LEAST_DEREGISTER)),
            successes: fields.count("successbeforepassing")?,
            failures: fields.count("failuresbeforecritical")?,
        };
        fields.end(CHECK_IGNORED)?;
        Ok(read)
    }
}

/// A check's headers: a list of values by name.
fn read_headers(value: Option<Value>) -> Result<HeaderMap, String> {
    let wrong = || "Header has to be an object of lists of strings".to_owned();
    let mut headers = HeaderMap::new();
    let Some(value) = value else {
        return Ok(headers);
    };
    for (name, values) in value.as_object().ok_or_else(wrong)? {
        for value in values.as_array().ok_or_else(wrong)? {
            let value = value.as_str().ok_or_else(wrong)?;
            let name: HeaderName = name.parse().map_err(|_| wrong())?;
            let value: HeaderValue = value.parse().map_err(|_| wrong())?;
            headers.append(name, value);
        }
    }
    Ok(headers)
}
