//! Arguments, checked and made into messages. A mistake names its path and says what to give instead, so
//! that a model can correct it.

mod message;
mod parameters;
mod plan;
mod problems;
mod scalar;

use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::{Map, Value};

use crate::schema::is_object;
pub(crate) use parameters::parameters;
pub use plan::ArgumentRules;
pub use problems::ArgumentError;

/// Objects and lists within each other.
pub const MAX_NESTING: usize = 64;

/// The message that JSON means.
///
/// # Errors
/// With everything that is wrong with it, up to a limit.
pub fn message(
    descriptor: &MessageDescriptor,
    json: Value,
    rules: &ArgumentRules,
) -> Result<DynamicMessage, ArgumentError> {
    check_nesting(&json)?;
    let mut reader = message::Reader::new(rules);
    let message = reader.message(descriptor, json);
    reader.finish(message)
}

/// The messages that the arguments of a tool mean, whose tool is a method: one, or those of `messages`.
///
/// # Errors
/// As [`message`].
pub fn messages(
    method: &MethodDescriptor,
    mut arguments: Map<String, Value>,
    rules: &ArgumentRules,
) -> Result<Vec<DynamicMessage>, ArgumentError> {
    let descriptor = method.input();
    let is_stream = method.is_client_streaming();
    if !is_stream && is_object(&descriptor) {
        return Ok(vec![message(&descriptor, Value::Object(arguments), rules)?]);
    }
    for value in arguments.values() {
        check_nesting(value)?;
    }
    let name = if is_stream { "messages" } else { "value" };
    let given = arguments.remove(name);
    let mut reader = message::Reader::new(rules);
    reader.only(name, &arguments);
    let Some(given) = given else {
        reader.missing(name);
        return reader.finish(None);
    };
    reader.enter(name);
    let read = match given {
        Value::Array(many) if is_stream => reader.list(&descriptor, many),
        other if is_stream => {
            reader.wrong(&other, "give a list of messages");
            None
        }
        one => reader
            .message(&descriptor, one)
            .map(|message| vec![message]),
    };
    reader.finish(read)
}

/// Refuses what is nested too deep. The depth of the check itself is bounded by it.
fn check_nesting(json: &Value) -> Result<(), ArgumentError> {
    fn fits(json: &Value, left: usize) -> bool {
        let Some(left) = left.checked_sub(1) else {
            return !json.is_object() && !json.is_array();
        };
        match json {
            Value::Array(values) => values.iter().all(|value| fits(value, left)),
            Value::Object(fields) => fields.values().all(|value| fits(value, left)),
            _ => true,
        }
    }
    match fits(json, MAX_NESTING) {
        true => Ok(()),
        false => Err(ArgumentError::new(format!(
            "the arguments are nested deeper than {MAX_NESTING}: give fewer levels"
        ))),
    }
}

#[cfg(test)]
mod tests;
