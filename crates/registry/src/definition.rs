//! What is sent to register a service or a check.
//!
//! Consul is written in Go, whose JSON takes field names in any case; so does this.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Map, Value};

/// The least time that Consul runs a check after.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// Consul's least time after which a critical service is taken out.
const LEAST_DEREGISTER: Duration = Duration::from_secs(60);
/// How long a check may take that says nothing of it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Consul's largest weight.
const MOST_WEIGHT: i64 = 65535;
/// Fields of a service that Consul knows and that mean nothing here.
const SERVICE_IGNORED: &[&str] = &[
    "connect",
    "contenthash",
    "locality",
    "namespace",
    "ns",
    "partition",
    "peername",
    "proxy",
    "socketpath",
    "taggedaddresses",
    "token",
];
/// The same of a check.
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
/// Longest duration that is read.
const LONGEST: f64 = 1e9;

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// gRPC health of `host:port`, of one service or of all (empty).
    Grpc { target: String, service: String },
    /// A request: 2xx passes, 429 warns.
    Http(HttpRequest),
    /// A connection to `host:port`.
    Tcp(String),
    /// Somebody reports before this time is over.
    Ttl(Duration),
}

/// What a check by HTTP asks.
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
    /// Empty for one that is named after its service.
    pub(crate) id: String,
    pub(crate) name: String,
    /// Of a check that is registered on its own; empty for one of the node.
    pub(crate) service_id: String,
    pub(crate) notes: String,
    pub(crate) status: Option<Status>,
    pub(crate) probe: Probe,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) deregister_after: Option<Duration>,
    /// How many successes, or failures, in a row change nothing yet.
    pub(crate) successes: u64,
    pub(crate) failures: u64,
}

/// A service as it was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceDefinition {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) address: String,
    pub(crate) port: i64,
    pub(crate) tags: Vec<String>,
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) weights: (i64, i64),
    pub(crate) tag_override: bool,
    pub(crate) checks: Vec<CheckDefinition>,
}

/// What a check comes to.
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

/// An object whose fields are found whatever their case.
struct Fields(Map<String, Value>);

impl Fields {
    fn new(value: Value) -> Result<Self, String> {
        let Value::Object(fields) = value else {
            return Err("the body is no JSON object".to_owned());
        };
        let lower = |(name, value): (String, Value)| (name.to_lowercase().replace('_', ""), value);
        Ok(Self(fields.into_iter().map(lower).collect()))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<String, String> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("{name} has to be a string")),
        }
    }

    fn number(&mut self, name: &str, otherwise: i64) -> Result<i64, String> {
        let Some(value) = self.take(name) else {
            return Ok(otherwise);
        };
        value
            .as_i64()
            .ok_or_else(|| format!("{name} has to be a whole number"))
    }

    fn list(&mut self, name: &str) -> Result<Vec<Value>, String> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(_) => Err(format!("{name} has to be a list")),
        }
    }

    fn is_true(&mut self, name: &str) -> bool {
        self.take(name) == Some(Value::Bool(true))
    }

    /// A field that is not known is a misspelling, which would do nothing without a word.
    fn end(self, ignored: &[&str]) -> Result<(), String> {
        let unknown = self.0.keys().find(|name| !ignored.contains(&name.as_str()));
        match unknown {
            Some(name) => Err(format!("unknown field {name:?}")),
            None => Ok(()),
        }
    }

    fn count(&mut self, name: &str) -> Result<u64, String> {
        let number = self.number(name, 0)?;
        u64::try_from(number).map_err(|_| format!("{name} has to be 0 or more"))
    }

    /// `10s`, `1m30s` or `500ms` as Go writes them, or nanoseconds.
    fn duration(&mut self, name: &str) -> Result<Option<Duration>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => duration(&text)
                .map(Some)
                .ok_or_else(|| format!("{name} has to be a duration such as 10s, not {text:?}")),
            Some(value) => value
                .as_u64()
                .map(|nanos| Some(Duration::from_nanos(nanos)))
                .ok_or_else(|| format!("{name} has to be a duration such as 10s")),
        }
    }
}

impl ServiceDefinition {
    pub(crate) fn read(body: Value) -> Result<Self, String> {
        let mut fields = Fields::new(body)?;
        let name = fields.text("name")?;
        if name.is_empty() {
            return Err("Missing service name".to_owned());
        }
        let id = match fields.text("id")? {
            none if none.is_empty() => name.clone(),
            id => id,
        };
        let port = fields.number("port", 0)?;
        let tags = match fields.take("tags") {
            None => Vec::new(),
            Some(Value::Array(tags)) => tags
                .iter()
                .map(|tag| tag.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or("Tags has to be a list of strings")?,
            Some(_) => return Err("Tags has to be a list of strings".to_owned()),
        };
        let meta = match fields.take("meta") {
            None => BTreeMap::new(),
            Some(Value::Object(meta)) => read_meta(meta)?,
            Some(_) => return Err("Meta has to be an object of strings".to_owned()),
        };
        let weights = match fields.take("weights") {
            None => (1, 1),
            Some(weights) => {
                let mut weights = Fields::new(weights)?;
                (weights.number("passing", 0)?, weights.number("warning", 0)?)
            }
        };
        if !(1..=MOST_WEIGHT).contains(&weights.0) || !(0..=MOST_WEIGHT).contains(&weights.1) {
            return Err(format!(
                "Weights has to be 1 to {MOST_WEIGHT} for Passing and 0 to {MOST_WEIGHT} for Warning"
            ));
        }
        let address = fields.text("address")?;
        if matches!(address.as_str(), "0.0.0.0" | "::" | "[::]") {
            return Err(format!(
                "Invalid service address: nobody can call {address}"
            ));
        }
        let mut checks = Vec::new();
        for check in fields
            .take("check")
            .into_iter()
            .chain(fields.list("checks")?)
        {
            // One that says nothing is none, as with Consul.
            if check != Value::Object(Map::new()) {
                checks.push(CheckDefinition::read(check)?);
            }
        }
        let kind = fields.text("kind")?;
        let tag_override = fields.is_true("enabletagoverride");
        fields.end(SERVICE_IGNORED)?;
        Ok(Self {
            kind,
            address,
            tag_override,
            id,
            name,
            port,
            tags,
            meta,
            weights,
            checks,
        })
    }
}

impl CheckDefinition {
    pub(crate) fn read(body: Value) -> Result<Self, String> {
        let mut fields = Fields::new(body)?;
        let id = match fields.text("checkid")? {
            none if none.is_empty() => fields.text("id")?,
            id => id,
        };
        let status = match fields.text("status")?.as_str() {
            "" => None,
            status => Some(Status::from_name(status).ok_or_else(|| {
                format!("Status {status:?} is none of passing, warning, critical")
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

/// Meta as Consul takes it.
fn read_meta(meta: Map<String, Value>) -> Result<BTreeMap<String, String>, String> {
    if meta.len() > 64 {
        return Err("Invalid Service Meta: it has more than 64 keys".to_owned());
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut read = BTreeMap::new();
    for (key, value) in meta {
        let Value::String(value) = value else {
            return Err("Meta has to be an object of strings".to_owned());
        };
        if key.is_empty() || key.len() > 128 || !key.chars().all(good) {
            return Err(format!(
                "Invalid Service Meta: a key is 1 to 128 letters, digits, - and _, not {:?}",
                key.chars().take(128).collect::<String>()
            ));
        }
        if value.len() > 512 {
            return Err(format!(
                "Invalid Service Meta: {key} is longer than 512 bytes"
            ));
        }
        read.insert(key, value);
    }
    Ok(read)
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

/// A duration as Go writes one: `1h2m3.5s`, `500ms`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (seconds <= LONGEST).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in [
            ("10s", 10.0),
            ("1m30s", 90.0),
            ("500ms", 0.5),
            ("1.5h", 5400.0),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_secs_f64(seconds)),
                "{text}"
            );
        }
        for wrong in ["", "10", "s", "-1s", "1y", "1e9h", "9999999999999h"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let body = json!({
            "name": "shop", "Port": 9000, "TAGS": ["grpc"], "weights": { "passing": 5 },
            "check": { "tcp": "127.0.0.1:9000", "Interval": "10s", "deregister_critical_service_after": "1s" },
        });
        let read = ServiceDefinition::read(body).unwrap();
        assert_eq!(
            (read.id.as_str(), read.port, read.weights),
            ("shop", 9000, (5, 1))
        );
        let check = &read.checks[0];
        assert_eq!(check.probe, Probe::Tcp("127.0.0.1:9000".to_owned()));
        assert_eq!(check.deregister_after, Some(LEAST_DEREGISTER));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (body, words) in [
            (json!([]), "no JSON object"),
            (json!({ "Port": 1 }), "Missing service name"),
            (json!({ "Name": 1 }), "name has to be a string"),
            (
                json!({ "Name": "x", "Port": "9" }),
                "port has to be a whole number",
            ),
            (json!({ "Name": "x", "Tags": [1] }), "list of strings"),
            (
                json!({ "Name": "x", "Check": { "TCP": "a:1" } }),
                "Interval",
            ),
            (
                json!({ "Name": "x", "Check": { "Interval": "1s" } }),
                "one of TTL",
            ),
            (
                json!({ "Name": "x", "Weights": { "Passing": 0 } }),
                "Weights",
            ),
        ] {
            let error = ServiceDefinition::read(body).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
