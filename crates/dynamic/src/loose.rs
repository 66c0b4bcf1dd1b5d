//! JSON for messages that have none by the rules of proto3: an `Any` of a type that nobody
//! describes, a time out of its range, a number that is none in a `google.protobuf.Value`. Whoever
//! called has an answer all the same; what cannot be said in words is there as bytes in base64.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};
use serde_json::{Map, Value as Json, json};

use crate::json::strict;

const ANY: &str = "google.protobuf.Any";
/// What types are named by where a message is all bytes.
const PREFIX: &str = "type.googleapis.com/";

/// A message, as near to its form in JSON as it has one.
pub(crate) fn message(message: &DynamicMessage) -> Json {
    // What is well beneath keeps its form.
    if let Ok(json) = strict(message) {
        return json;
    }
    let descriptor = message.descriptor();
    match descriptor.full_name() {
        ANY => any(message, &descriptor),
        "google.protobuf.Struct" => map_of(message, "fields"),
        "google.protobuf.ListValue" => list_of(message, "values"),
        "google.protobuf.Value" => dynamic_value(message),
        _ => Json::Object(fields(message)),
    }
}

/// Bytes that are not the message they should be.
pub(crate) fn opaque(descriptor: &MessageDescriptor, bytes: &[u8]) -> Json {
    packed(&format!("{PREFIX}{}", descriptor.full_name()), bytes)
}

fn packed(url: &str, bytes: &[u8]) -> Json {
    json!({"@type": url, "value": BASE64_STANDARD.encode(bytes)})
}

fn any(message: &DynamicMessage, descriptor: &MessageDescriptor) -> Json {
    let url = message.get_field_by_name("type_url");
    let url = url.as_deref().and_then(Value::as_str).unwrap_or_default();
    let bytes = message.get_field_by_name("value");
    let bytes = bytes.as_deref().and_then(Value::as_bytes);
    let bytes = bytes.cloned().unwrap_or_default();
    if url.is_empty() && bytes.is_empty() {
        return json!({});
    }
    let name = url.rsplit('/').next().unwrap_or(url);
    let inner = descriptor.parent_pool().get_message_by_name(name);
    let inner = inner.and_then(|inner| DynamicMessage::decode(inner, bytes.clone()).ok());
    let Some(inner) = inner else {
        return packed(url, &bytes);
    };
    // By the rules, what has a form of its own in JSON stands under `value`.
    let own = name.starts_with("google.protobuf.");
    match self::message(&inner) {
        Json::Object(mut fields) if !own => {
            fields.insert("@type".to_owned(), json!(url));
            Json::Object(fields)
        }
        other => json!({"@type": url, "value": other}),
    }
}

fn fields(message: &DynamicMessage) -> Map<String, Json> {
    let descriptor = message.descriptor();
    let there = descriptor
        .fields()
        .filter(|field| !field.supports_presence() || message.has_field(field));
    let fields = there.map(|field| {
        let json = value(&message.get_field(&field), &field.kind());
        (field.name().to_owned(), json)
    });
    let extensions = message
        .extensions()
        .map(|(field, found)| (field.json_name().to_owned(), value(found, &field.kind())));
    fields.chain(extensions).collect()
}

fn value(value: &Value, kind: &Kind) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::I32(value) => json!(value),
        Value::U32(value) => json!(value),
        // As texts, since JSON's numbers lose some of them.
        Value::I64(value) => json!(value.to_string()),
        Value::U64(value) => json!(value.to_string()),
        Value::F32(value) if value.is_finite() => json!(value),
        Value::F32(value) => number(f64::from(*value)),
        Value::F64(value) => number(*value),
        Value::String(value) => json!(value),
        Value::Bytes(value) => json!(BASE64_STANDARD.encode(value)),
        Value::EnumNumber(number) => match kind {
            Kind::Enum(descriptor) => enumeration(descriptor, *number),
            _ => json!(number),
        },
        Value::Message(value) => message(value),
        Value::List(values) => values.iter().map(|item| self::value(item, kind)).collect(),
        Value::Map(values) => {
            let kind = match kind {
                Kind::Message(entry) if entry.is_map_entry() => entry.map_entry_value_field().kind(),
                other => other.clone(),
            };
            let pairs = values
                .iter()
                .map(|(key, item)| (self::key(key), self::value(item, &kind)));
            Json::Object(pairs.collect())
        }
    }
}

fn enumeration(descriptor: &EnumDescriptor, number: i32) -> Json {
    match descriptor.get_value(number) {
        _ if descriptor.full_name() == "google.protobuf.NullValue" => Json::Null,
        Some(value) => json!(value.name()),
        None => json!(number),
    }
}

/// A number, or the word for one that is none.
fn number(number: f64) -> Json {
    match number {
        _ if number.is_finite() => json!(number),
        _ if number.is_nan() => json!("NaN"),
        _ if number > 0.0 => json!("Infinity"),
        _ => json!("-Infinity"),
    }
}

fn key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// The one field of a message that is a map in JSON.
fn map_of(message: &DynamicMessage, name: &str) -> Json {
    fields(message).remove(name).unwrap_or_else(|| json!({}))
}

/// The one field of a message that is a list in JSON.
fn list_of(message: &DynamicMessage, name: &str) -> Json {
    fields(message).remove(name).unwrap_or_else(|| json!([]))
}

/// A `google.protobuf.Value` is whichever of its fields it has.
fn dynamic_value(message: &DynamicMessage) -> Json {
    let mut set = message.fields();
    set.next()
        .map_or(Json::Null, |(field, found)| value(found, &field.kind()))
}
