//! Messages as JSON: field names of the proto file or lowerCamelCase in, those of the file out.

use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage as _, SerializeOptions};
use proto::error_info;
use serde_json::Value;
use tonic::{Code, Status};

/// A message from JSON; field names as in the proto file or in lowerCamelCase.
///
/// # Errors
/// `INVALID_ARGUMENT` when it is not that message.
pub fn from_json(descriptor: &MessageDescriptor, json: Value) -> Result<DynamicMessage, Status> {
    DynamicMessage::deserialize(descriptor.clone(), json).map_err(|error| {
        let name = descriptor.full_name();
        let text = format!("the JSON is no {name}: {error}");
        let facts = [("message", name.to_owned())];
        error_info::status(Code::InvalidArgument, "MALFORMED_MESSAGE", text, facts)
    })
}

/// JSON with the names of the proto file and every field, so that `success: false` is seen.
///
/// # Errors
/// `INTERNAL` for a value that JSON has no form for, such as a `google.protobuf.Any` of an unknown
/// type.
pub fn to_json(message: &DynamicMessage) -> Result<Value, Status> {
    write(message, serde_json::value::Serializer)
}

/// The same as text, fields in the order of their numbers, over several lines or on one.
///
/// # Errors
/// As [`to_json`].
pub fn to_text(message: &DynamicMessage, pretty: bool) -> Result<String, Status> {
    let mut text = Vec::new();
    if pretty {
        write(message, &mut serde_json::Serializer::pretty(&mut text))?;
    } else {
        write(message, &mut serde_json::Serializer::new(&mut text))?;
    }
    String::from_utf8(text).map_err(|error| Status::internal(error.to_string()))
}

fn write<S>(message: &DynamicMessage, to: S) -> Result<S::Ok, Status>
where
    S: serde::Serializer,
{
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false);
    let written = message.serialize_with_options(to, &options);
    written.map_err(|error| {
        let name = message.descriptor().full_name().to_owned();
        let text = format!("{name} has no form in JSON: {error}");
        error_info::status(
            Code::Internal,
            "UNPRINTABLE_MESSAGE",
            text,
            [("message", name)],
        )
    })
}
