//! The bodies that register a service or a check. Field names are read in any case, as Go's JSON does.

mod check;
mod fields;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::fields::Fields;
pub(crate) use self::{
    check::{CheckDefinition, Probe, Status},
    fields::duration,
};

/// Consul's largest weight.
const MOST_WEIGHT: i64 = 65535;
/// Fields of a service that Consul has and this registry ignores.
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
        let tags = fields.take("tags").map(serde_json::from_value).transpose();
        let tags = tags.map_err(|_| "Tags has to be a list of strings")?;
        let meta = fields.take("meta").map(serde_json::from_value).transpose();
        let meta = meta.map_err(|_| "Meta has to be an object of strings")?;
        let meta = check_meta(meta.unwrap_or_default())?;
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
        let checks = fields.take("check").into_iter();
        let checks = checks.chain(fields.list("checks")?);
        // An empty object is no check, as with Consul.
        let checks = checks.filter(|check| *check != Value::Object(Map::new()));
        let checks = checks.map(CheckDefinition::read).collect::<Result<_, _>>();
        let checks = named(checks?, &id, &name);
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
            tags: tags.unwrap_or_default(),
            meta,
            weights,
            checks,
        })
    }
}

/// The checks of a service. Those without an ID or a name get the ones that Consul gives.
fn named(mut checks: Vec<CheckDefinition>, id: &str, name: &str) -> Vec<CheckDefinition> {
    let several = checks.len() > 1;
    for (number, check) in checks.iter_mut().enumerate() {
        if check.id.is_empty() {
            check.id = match several {
                false => format!("service:{id}"),
                true => format!("service:{id}:{}", number + 1),
            };
        }
        if check.name.is_empty() {
            check.name = format!("Service '{name}' check");
        }
    }
    checks
}

/// Meta within Consul's limits.
fn check_meta(meta: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    if meta.len() > 64 {
        return Err("Invalid Service Meta: it has more than 64 keys".to_owned());
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    for (key, value) in &meta {
        if key.is_empty() || key.len() > 128 || !key.chars().all(good) {
            let key: String = key.chars().take(128).collect();
            return Err(format!(
                "Invalid Service Meta: a key is 1 to 128 letters, digits, - and _, not {key:?}"
            ));
        }
        if value.len() > 512 {
            return Err(format!(
                "Invalid Service Meta: {key} is longer than 512 bytes"
            ));
        }
    }
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
            ("shop", 9000, (5, 0))
        );
        let check = &read.checks[0];
        assert_eq!(check.probe, Probe::Tcp("127.0.0.1:9000".to_owned()));
        assert_eq!(check.deregister_after, Some(check::LEAST_DEREGISTER));
    }

    #[test]
    fn a_field_that_says_nothing_is_no_matter() {
        let body = json!({
            "Name": "x", "Checks": null, "Check": {}, "Proxy": { "x": 1 }, "Future": false,
            "TaggedAddresses": { "lan": { "Address": "10.0.0.1", "Port": 1 } }, "Notes": "",
        });
        assert_eq!(ServiceDefinition::read(body).unwrap().checks, []);
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
            (
                json!({ "Name": "x", "Weights": { "Passing": 65536 } }),
                "65535",
            ),
            (json!({ "Name": "x", "Chekc": { "TTL": "1s" } }), "chekc"),
            (
                json!({ "Name": "x", "Check": { "Args": ["true"], "Interval": "1s" } }),
                "one of TTL",
            ),
            (
                json!({ "Name": "x", "Check": { "TTL": "9s", "UDP": "h:1" } }),
                "udp",
            ),
            (
                json!({ "Name": "x", "Check": { "TTL": "9s", "Interval": "9s" } }),
                "both",
            ),
            (
                json!({ "Name": "x", "Check": { "HTTP": "no url", "Interval": "9s" } }),
                "no url",
            ),
            (json!({ "Name": "x", "Checks": {} }), "a list"),
            (json!({ "Name": "x", "Address": "0.0.0.0" }), "address"),
            (json!({ "Name": "x", "Meta": { "a b": "" } }), "Meta"),
            (
                json!({ "Name": "x", "Meta": { "a": "y".repeat(513) } }),
                "512",
            ),
        ] {
            let error = ServiceDefinition::read(body).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
