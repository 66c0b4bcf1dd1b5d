//! Messages as JSON: field names of the proto file or lowerCamelCase in, those of the file out.

use bytes::Bytes;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use proto::error_info::{self, Reason};
use serde_json::Value;
use tonic::{Code, Status};

use crate::{lenient, strict};

/// A message of an answer, which may not be what its descriptor says.
#[derive(Clone, Debug)]
pub enum ReceivedMessage {
    /// A message that could be decoded.
    Read(DynamicMessage),
    /// Bytes that could not: a text that is no UTF-8, or a field of another type.
    Opaque(MessageDescriptor, Bytes),
}

impl ReceivedMessage {
    /// Decodes bytes as the message that they should be.
    #[must_use]
    pub fn decode(descriptor: MessageDescriptor, bytes: Bytes) -> Self {
        match DynamicMessage::decode(descriptor.clone(), bytes.clone()) {
            Ok(message) => Self::Read(message),
            Err(_) => Self::Opaque(descriptor, bytes),
        }
    }

    /// The decoded message.
    ///
    /// # Errors
    /// `INTERNAL` for bytes that could not be decoded.
    pub fn message(self) -> Result<DynamicMessage, Status> {
        match self {
            Self::Read(message) => Ok(message),
            Self::Opaque(descriptor, _) => {
                let name = descriptor.full_name();
                Err(Status::internal(format!("the answer is no {name}")))
            }
        }
    }

    /// The message as JSON. Bytes that could not be decoded are `{"@type", "value"}` in base64.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Read(message) => to_json(message),
            Self::Opaque(descriptor, bytes) => lenient::opaque(descriptor, bytes),
        }
    }

    /// The JSON as text, on one line or indented (`pretty`).
    #[must_use]
    pub fn to_text(&self, pretty: bool) -> String {
        match self {
            Self::Read(message) => to_text(message, pretty),
            Self::Opaque(..) => text(&self.to_json(), pretty),
        }
    }
}

/// A message from JSON, with field names as in the proto file or in lowerCamelCase.
///
/// # Errors
/// `INVALID_ARGUMENT` when the JSON is not that message.
pub fn from_json(descriptor: &MessageDescriptor, json: Value) -> Result<DynamicMessage, Status> {
    DynamicMessage::deserialize(descriptor.clone(), json).map_err(|error| {
        let name = descriptor.full_name();
        let said = error.to_string();
        let text = format!("the JSON is no {name}: {}", telemetry::humanize(&said));
        let facts = [("message", name.to_owned())];
        error_info::status(Code::InvalidArgument, Reason::MalformedMessage, text, facts)
    })
}

/// A message as JSON with the names of the proto file and with every field, so that `success: false`
/// is seen. A `google.protobuf.Any` of an unknown type becomes `@type` and `value`, its bytes in base64.
///
/// ```
/// use prost_reflect::DescriptorPool;
///
/// let pool = DescriptorPool::decode(proto::DESCRIPTORS)?;
/// let request = pool.get_message_by_name("agentplatform.ToolRequest").expect("our own contract");
/// let message = mesh_dynamic::from_json(&request, serde_json::json!({"toolId": "fs-tool"}))?;
/// assert_eq!(mesh_dynamic::to_json(&message)["tool_id"], "fs-tool");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn to_json(message: &DynamicMessage) -> Value {
    lenient::message(message)
}

/// [`to_json`] as text, on one line or indented (`pretty`), fields in the order of their numbers.
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
