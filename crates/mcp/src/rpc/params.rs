//! The parameters of every method, read once. A method takes the members that it knows.

use std::{borrow::Cow, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{RpcError, text};

/// The members that any method may have.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Params<'a> {
    /// What the request says of itself.
    #[serde(rename = "_meta", borrow)]
    pub meta: Option<&'a RawValue>,
    /// A tool's, prompt's or argument's name.
    #[serde(borrow)]
    pub name: Option<&'a RawValue>,
    /// The arguments of a tool or a prompt.
    #[serde(borrow)]
    pub arguments: Option<&'a RawValue>,
    /// A resource.
    #[serde(borrow)]
    pub uri: Option<&'a RawValue>,
    /// A task.
    #[serde(borrow)]
    pub task_id: Option<&'a RawValue>,
    /// Where a list goes on.
    #[serde(borrow)]
    pub cursor: Option<&'a RawValue>,
    /// What a subscription is about.
    #[serde(borrow)]
    pub notifications: Option<&'a RawValue>,
    /// What is to be completed.
    #[serde(borrow, rename = "ref")]
    pub reference: Option<&'a RawValue>,
    /// The argument that is to be completed.
    #[serde(borrow)]
    pub argument: Option<&'a RawValue>,
    /// From which level on log messages are sent.
    #[serde(borrow)]
    pub level: Option<&'a RawValue>,
    /// The request that a notification cancels.
    #[serde(borrow)]
    pub request_id: Option<&'a RawValue>,
    /// The version that `initialize` asks for.
    #[serde(borrow)]
    pub protocol_version: Option<&'a RawValue>,
    /// The capabilities of a client that initializes.
    #[serde(borrow)]
    pub capabilities: Option<&'a RawValue>,
    /// The client that initializes.
    #[serde(borrow)]
    pub client_info: Option<&'a RawValue>,
    /// Answers to what a result asked for.
    #[serde(borrow)]
    pub input_responses: Option<&'a RawValue>,
    /// The state of such a result.
    #[serde(borrow)]
    pub request_state: Option<&'a RawValue>,
}

/// What a request says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Meta<'a> {
    /// The revision that it is of.
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    pub version: Option<Cow<'a, str>>,
    /// What its client can do.
    #[serde(borrow, rename = "io.modelcontextprotocol/clientCapabilities")]
    pub capabilities: Option<&'a RawValue>,
    /// Its client.
    #[serde(borrow, rename = "io.modelcontextprotocol/clientInfo")]
    pub client: Option<&'a RawValue>,
    /// From which level on it wants log messages.
    #[serde(borrow, rename = "io.modelcontextprotocol/logLevel")]
    pub log_level: Option<Cow<'a, str>>,
    /// It wants progress, under this token.
    #[serde(borrow, rename = "progressToken")]
    pub progress: Option<&'a RawValue>,
    /// The trace that it is part of.
    #[serde(borrow)]
    pub traceparent: Option<Cow<'a, str>>,
    /// The vendors' part of that trace.
    #[serde(borrow)]
    pub tracestate: Option<Cow<'a, str>>,
    /// Its key: calls with one key run once.
    #[serde(borrow, rename = "mesh.v1/idempotencyKey")]
    pub idempotency_key: Option<Cow<'a, str>>,
    /// How long it may take, milliseconds.
    #[serde(rename = "mesh.v1/timeoutMs")]
    pub timeout_ms: Option<u64>,
}

impl<'a> Params<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// For a doubled member.
    pub fn read(raw: Option<&'a RawValue>) -> Result<Self, RpcError> {
        let Some(raw) = raw else {
            return Ok(Self::default());
        };
        serde_json::from_str(raw.get())
            .map_err(|error| RpcError::params(format!("params: {error}")))
    }

    /// What the request says of itself.
    ///
    /// # Errors
    /// When one of the members has the wrong type.
    pub fn meta(&self) -> Result<Meta<'a>, RpcError> {
        let Some(raw) = self.meta else {
            return Ok(Meta::default());
        };
        serde_json::from_str(raw.get())
            .map_err(|error| RpcError::params(format!("params._meta: {error}")))
    }

    /// The arguments; none are an empty object.
    ///
    /// # Errors
    /// When they are no object.
    pub fn arguments(&self) -> Result<Map<String, Value>, RpcError> {
        let Some(raw) = self.arguments else {
            return Ok(Map::new());
        };
        serde_json::from_str(raw.get()).map_err(|error| {
            RpcError::params(format!("params.arguments must be an object: {error}"))
        })
    }
}

/// The text of a member that has to be there.
///
/// # Errors
/// When it is missing or no string.
pub(super) fn required<'a>(
    name: &str,
    member: Option<&'a RawValue>,
) -> Result<Cow<'a, str>, RpcError> {
    let Some(member) = member else {
        return Err(RpcError::params(format!("params.{name} is missing")));
    };
    text(member).ok_or_else(|| RpcError::params(format!("params.{name} must be a string")))
}

impl<'a> Params<'a> {
    /// The name of a tool or a prompt.
    ///
    /// # Errors
    /// When it is missing or no string.
    pub fn name(&self) -> Result<Cow<'a, str>, RpcError> {
        required("name", self.name)
    }

    /// The address of a resource.
    ///
    /// # Errors
    /// When it is missing or no string.
    pub fn uri(&self) -> Result<Cow<'a, str>, RpcError> {
        required("uri", self.uri)
    }

    /// The id of a task.
    ///
    /// # Errors
    /// When it is missing or no string.
    pub fn task_id(&self) -> Result<Cow<'a, str>, RpcError> {
        required("taskId", self.task_id)
    }

    /// Where a list goes on, if it does.
    ///
    /// # Errors
    /// When it is no string.
    pub fn cursor(&self) -> Result<Option<Cow<'a, str>>, RpcError> {
        match self.cursor {
            None => Ok(None),
            Some(raw) if raw.get() == "null" => Ok(None),
            cursor => required("cursor", cursor).map(Some),
        }
    }
}

impl Meta<'_> {
    /// The required members that are missing.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.version.is_none() {
            missing.push("io.modelcontextprotocol/protocolVersion");
        }
        let is_object = |raw: &RawValue| raw.get().starts_with('{');
        if !self.capabilities.is_some_and(is_object) {
            missing.push("io.modelcontextprotocol/clientCapabilities");
        }
        missing
    }

    /// How long the request may take, where it says.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_raw_until_they_are_asked_for() {
        let raw = RawValue::from_string(
            r#"{"name":"a\nb","arguments":{"n":1},"cursor":null,"other":[1],
                "_meta":{"progressToken":7,"mesh.v1/timeoutMs":250,"x":1}}"#
                .to_owned(),
        )
        .unwrap();
        let params = Params::read(Some(&raw)).unwrap();
        assert_eq!(params.name().unwrap(), "a\nb");
        assert_eq!(params.arguments().unwrap()["n"], 1);
        assert_eq!(params.cursor().unwrap(), None);
        let meta = params.meta().unwrap();
        assert_eq!(meta.progress.unwrap().get(), "7");
        assert_eq!(meta.timeout(), Some(Duration::from_millis(250)));
        assert_eq!(meta.missing().len(), 2);
        assert!(params.uri().unwrap_err().message.contains("uri is missing"));
    }

    #[test]
    fn what_is_of_the_wrong_type_is_named() {
        let read = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let doubled = read(r#"{"name":"a","name":"b"}"#);
        let error = Params::read(Some(&doubled)).unwrap_err();
        assert!(error.message.contains("duplicate field `name`"), "{error}");
        let number = read(r#"{"name":1,"arguments":[],"_meta":{"traceparent":1}}"#);
        let params = Params::read(Some(&number)).unwrap();
        assert!(params.name().is_err() && params.arguments().is_err() && params.meta().is_err());
    }
}
