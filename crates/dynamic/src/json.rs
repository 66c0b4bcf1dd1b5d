//! Messages as JSON: field names of the proto file or lowerCamelCase in, those of the file out.

use bytes::Bytes;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use proto::error_info::{self, Reason};
use serde_json::Value;
use tonic::{Code, Status};

use crate::{lenient, strict};

/// A message of an answer. That it cannot be read does not mean that there was none.
#[derive(Clone, Debug)]
pub enum ReceivedMessage {
    /// One that is what its descriptor says.
    Read(DynamicMessage),
    /// Bytes that are not: a text that is no UTF-8, or a field of another type.
    Opaque(MessageDescriptor, Bytes),
}

impl ReceivedMessage {
    /// Bytes as the message that they should be.
    #[must_use]
    pub fn decode(descriptor: MessageDescriptor, bytes: Bytes) -> Self {
        match DynamicMessage::decode(descriptor.clone(), bytes.clone()) {
            Ok(message) => Self::Read(message),
            Err(_) => Self::Opaque(descriptor, bytes),
        }
    }

    /// The message, where it could be read.
    ///
    /// # Errors
    /// `INTERNAL` where it could not.
    pub fn message(self) -> Result<DynamicMessage, Status> {
        match self {
            Self::Read(message) => Ok(message),
            Self::Opaque(descriptor, _) => {
                let name = descriptor.full_name();
                Err(Status::internal(format!("the answer is no {name}")))
            }
        }
    }

    /// The message as JSON; `{"@type", "value"}` with its bytes in base64 where it cannot be read.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Read(message) => to_json(message),
            Self::Opaque(descriptor, bytes) => lenient::opaque(descriptor, bytes),
        }
    }

    /// The same as text, over several lines or on one.
    #[must_use]
    pub fn to_text(&self, pretty: bool) -> String {
        match self {
            Self::Read(message) => to_text(message, pretty),
            Self::Opaque(..) => text(&self.to_json(), pretty),
        }
    }
}

/// A message from JSON; field names as in the proto file or in lowerCamelCase.
///
/// # Errors
/// `INVALID_ARGUMENT` when it is not that message.
pub fn from_json(descriptor: &MessageDescriptor, json: Value) -> Result<DynamicMessage, Status> {
    DynamicMessage::deserialize(descriptor.clone(), json).map_err(|error| {
        let name = descriptor.full_name();
        let said = error.to_string();
        let text = format!("the JSON is no {name}: {}", telemetry::humanize(&said));
        let facts = [("message", name.to_owned())];
        error_info::status(Code::InvalidArgument, Reason::MalformedMessage, text, facts)
    })
}

/// JSON with the names of the proto file and every field, so that `success: false` is seen. What
/// has no form in JSON, such as a `google.protobuf.Any` of an unknown type, is there as `@type` and
/// `value`, its bytes in base64.
#[must_use]
pub fn to_json(message: &DynamicMessage) -> Value {
    lenient::message(message)
}

/// The same as text, fields in the order of their numbers, over several lines or on one.
#[must_use]
pub fn to_text(message: &DynamicMessage, pretty: bool) -> String {
    if !lenient::is_plain(message) {
        return text(&to_json(message), pretty);
    }
    let mut bytes = Vec::new();
    let written = match pretty {
        true => strict::write(message, &mut serde_json::Serializer::pretty(&mut bytes)),
        false => strict::write(message, &mut serde_json::Serializer::new(&mut bytes)),
    };
    match written.map(|()| String::from_utf8(bytes)) {
        Ok(Ok(text)) => text,
        _ => text(&to_json(message), pretty),
    }
}

fn text(json: &Value, pretty: bool) -> String {
    match pretty {
        true => format!("{json:#}"),
        false => json.to_string(),
    }
}

#[cfg(test)]
mod tests;
