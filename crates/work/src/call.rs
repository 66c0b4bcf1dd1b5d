//! The kind `call`: a method of a service of the mesh.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::FieldError;

/// A call to be made. Its message is JSON, translated by what the service says of itself, or
/// ready bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Consul name or public id of the service, such as `agent-echo`.
    pub service: String,
    /// `pkg.Service/Method`.
    pub method: String,
    /// The message as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Map<String, Value>>,
    /// The encoded message, in base64; instead of `payload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_base64: Option<String>,
    /// Metadata that goes along, as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl Call {
    /// A call with a JSON message.
    #[must_use]
    pub fn json(service: &str, method: &str, payload: Map<String, Value>) -> Self {
        Self {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: Some(payload),
            bytes_base64: None,
            metadata: BTreeMap::new(),
        }
    }

    /// The encoded message, where it was given as one.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(self.bytes_base64.as_ref()?).ok()
    }

    pub(crate) fn check(&self) -> Result<(), FieldError> {
        let name = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
            !part.is_empty() && part.chars().all(plain)
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.service.is_empty() || self.service.len() > 128 || !self.service.chars().all(plain) {
            let reason = format!("{:?} names no service, as agent-echo does", self.service);
            return Err(FieldError::new("service", reason));
        }
        let parts = self.method.split_once('/');
        if !parts.is_some_and(|(service, method)| name(service) && name(method)) {
            let reason = format!("{:?} is not pkg.Service/Method", self.method);
            return Err(FieldError::new("method", reason));
        }
        match (&self.payload, &self.bytes_base64) {
            (None, None) => {
                let reason = "missing: give the message as JSON, or in bytes_base64";
                return Err(FieldError::new("payload", reason));
            }
            (Some(_), Some(_)) => {
                return Err(FieldError::new(
                    "bytes_base64",
                    "give it or payload, not both",
                ));
            }
            (None, Some(_)) if self.bytes().is_none() => {
                return Err(FieldError::new("bytes_base64", "is no base64"));
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
        for (name, value) in &self.metadata {
            check_metadata(name, value)
                .map_err(|reason| FieldError::new(format!("metadata.{name}"), reason))?;
        }
        Ok(())
    }
}

/// What belongs to the transport, and what the runner says of the job itself.
const RESERVED: [&str; 7] = [
    "content-type",
    "te",
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "user-agent",
];

fn check_metadata(name: &str, value: &str) -> Result<(), &'static str> {
    let parsed = HeaderName::try_from(name).map_err(|_| "is no name of metadata")?;
    if parsed.as_str() != name || name.ends_with("-bin") {
        return Err("metadata is lower case and text here");
    }
    if name.starts_with("grpc-") || RESERVED.contains(&name) {
        return Err("the call sets this itself");
    }
    match HeaderValue::try_from(value) {
        Ok(value) if value.to_str().is_ok() => Ok(()),
        _ => Err("give printable ASCII"),
    }
}
