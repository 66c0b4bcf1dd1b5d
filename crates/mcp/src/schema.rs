//! JSON Schemas of protobuf messages, such as every provider takes: draft 2020-12, protojson with the
//! names of the proto file, no union at the top, no `oneOf`, no type arrays, no `$ref`, no bare `true`.
//!
//! What `validate` takes is at least what the schema of the input says, and what `json` writes fits the
//! schema of the output.

mod comments;
mod mesh;
mod message;
mod well_known;

use prost_reflect::{MessageDescriptor, MethodDescriptor};
use serde_json::{Map, Value, json};

pub use comments::method_comment;
pub use mesh::{
    agent_input_schema, operation_input_schema, operation_output_schema, task_output_schema,
    worker_input_schema,
};
pub(crate) use message::{Side, is_object};

/// Messages of a stream that a result holds.
pub const MAX_MESSAGES: usize = 1_000;

/// How large a schema may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaOptions {
    /// Most bytes of its JSON. Messages past them are free objects.
    pub max_bytes: usize,
    /// Messages within each other. Deeper ones are free objects.
    pub max_depth: usize,
}

impl Default for SchemaOptions {
    fn default() -> Self {
        Self {
            max_bytes: 32 << 10,
            max_depth: 8,
        }
    }
}

/// The schema of a message that goes to a service.
#[must_use]
pub fn input_schema(message: &MessageDescriptor, options: &SchemaOptions) -> Value {
    message::schema(message, Side::Input, options)
}

/// The schema of a message that comes from a service.
#[must_use]
pub fn output_schema(message: &MessageDescriptor, options: &SchemaOptions) -> Value {
    message::schema(message, Side::Output, options)
}

/// The schema of a tool's arguments: the message of the method; `messages` for a stream of them, and
/// `value` for one whose JSON is no object.
#[must_use]
pub fn method_input_schema(method: &MethodDescriptor, options: &SchemaOptions) -> Value {
    let message = method.input();
    let inner = input_schema(&message, &within(options));
    if method.is_client_streaming() {
        return object(
            "messages",
            &list(&inner, "The messages, in their order"),
            true,
        );
    }
    match is_object(&message) {
        true => input_schema(&message, options),
        false => object("value", &inner, true),
    }
}

/// The schema of a tool's structured result: the message of the method; `messages` for a stream of
/// them, and `value` for one whose JSON is no object.
#[must_use]
pub fn method_output_schema(method: &MethodDescriptor, options: &SchemaOptions) -> Value {
    let message = method.output();
    let inner = output_schema(&message, &within(options));
    if method.is_server_streaming() {
        let mut schema = object(
            "messages",
            &list(&inner, "The messages, in their order"),
            false,
        );
        let about =
            format!("Whether there were more than the messages here, at most {MAX_MESSAGES}");
        schema["properties"]["truncated"] = json!({"type": "boolean", "description": about});
        return schema;
    }
    match is_object(&message) {
        true => output_schema(&message, options),
        false => object("value", &inner, false),
    }
}

/// Room for what is put around a message.
fn within(options: &SchemaOptions) -> SchemaOptions {
    SchemaOptions {
        max_bytes: options.max_bytes.saturating_sub(400),
        ..*options
    }
}

fn list(items: &Value, about: &str) -> Value {
    json!({"type": "array", "items": items, "description": about})
}

/// An object with one property, which it always has.
fn object(name: &str, schema: &Value, is_closed: bool) -> Value {
    let mut properties = Map::new();
    properties.insert(name.to_owned(), schema.clone());
    let mut object = json!({"type": "object", "properties": properties, "required": [name]});
    if is_closed {
        object["additionalProperties"] = json!(false);
    }
    object
}

#[cfg(test)]
mod tests;
