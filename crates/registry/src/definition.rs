//! What is sent to register a service or a check.
//!
//! Consul is written in Go, whose JSON takes field names in any case; so does this.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};

/// The least time that Consul runs a check after.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// Consul's least time after which a critical service is taken out.
const LEAST_DEREGISTER: Duration = Duration::from_secs(60);
/// How long a check may take that says nothing of it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest duration that is read.
const LONGEST: f64 = 1e9;

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// gRPC health of `host:port`, of one service or of all (empty).
    Grpc { target: String, service: String },
    /// GET of a URL: 2xx passes, 429 warns.
    Http(String),
    /// A connection to `host:port`.
    Tcp(String),
    /// Somebody reports before this time is over.
    Ttl(Duration),
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

    fn is_true(&mut self, name: &str) -> bool {
        self.take(name) == Some(Value::Bool(true))
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
            Some(Value::Object(meta)) => meta
                .into_iter()
                .map(|(key, value)| Some((key, value.as_str()?.to_owned())))
                .collect::<Option<_>>()
                .ok_or("Meta has to be an object of strings")?,
            Some(_) => return Err("Meta has to be an object of strings".to_owned()),
        };
        let weights = match fields.take("weights") {
            None => (1, 1),
            Some(weights) => {
                let mut weights = Fields::new(weights)?;
                (weights.number("passing", 1)?, weights.number("warning", 1)?)
            }
        };
        if weights.0 < 1 || weights.1 < 0 {
            return Err("Weights has to be at least 1 for Passing and 0 for Warning".to_owned());
        }
        let mut checks = Vec::new();
        if let Some(check) = fields.take("check") {
            checks.push(CheckDefinition::read(check)?);
        }
        if let Some(Value::Array(more)) = fields.take("checks") {
            for check in more {
                checks.push(CheckDefinition::read(check)?);
            }
        }
        Ok(Self {
            kind: fields.text("kind")?,
            address: fields.text("address")?,
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
        let probe = if let Some(ttl) = ttl {
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
            Probe::Http(http)
        } else if !tcp.is_empty() {
            Probe::Tcp(tcp)
        } else {
            return Err("a check needs one of TTL, GRPC, HTTP and TCP".to_owned());
        };
        if interval.is_none() && ttl.is_none() {
            return Err("Interval must be > 0 for GRPC, HTTP, or TCP checks".to_owned());
        }
        Ok(Self {
            id,
            name: fields.text("name")?,
            service_id: fields.text("serviceid")?,
            notes: fields.text("notes")?,
            status,
            probe,
            interval: interval.unwrap_or(LEAST_INTERVAL).max(LEAST_INTERVAL),
            timeout: timeout.unwrap_or(TIMEOUT),
            deregister_after: deregister_after.map(|after| after.max(LEAST_DEREGISTER)),
        })
    }
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
