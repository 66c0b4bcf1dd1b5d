//! JSON by the rules of proto3.

use prost_reflect::{DynamicMessage, SerializeOptions};

/// Writes a message with the names of the proto file and every field.
///
/// # Errors
/// For what has no form by these rules.
pub(crate) fn write<S>(message: &DynamicMessage, to: S) -> Result<S::Ok, S::Error>
where
    S: serde::Serializer,
{
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false);
    message.serialize_with_options(to, &options)
}
