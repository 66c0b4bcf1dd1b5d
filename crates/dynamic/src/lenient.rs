//! JSON for messages that have none by the rules of proto3: an `Any` of an unknown type, a time out of its
//! range, a NaN in a `google.protobuf.Value`. Such parts become bytes in base64, so that the caller still
//! gets an answer.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use prost_reflect::{
    DynamicMessage, EnumDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};
use serde_json::{Map, Value as Json, json};

use crate::strict;

const ANY: &str = "google.protobuf.Any";
/// Messages whose JSON is the number in them.
const WRAPPERS: [&str; 2] = ["google.protobuf.FloatValue", "google.protobuf.DoubleValue"];
/// Deepest `Any` within an `Any` that is decoded: each begins the depth of messages anew.
const DEEPEST_ANY: usize = 16;
/// The prefix of type names where a message is shown as bytes.
const PREFIX: &str = "type.googleapis.com/";

/// A message, as near to its form in JSON as it has one.
pub(crate) fn message(message: &DynamicMessage) -> Json {
    within(message, DEEPEST_ANY)
}

/// Whether the rules of proto3 can be tried on a message. An `Any` that is nested too deep would
/// overflow the stack, and a NaN or an infinity in a wrapper would be lost.
pub(crate) fn is_plain(message: &DynamicMessage) -> bool {
    plain(message, DEEPEST_ANY)
}

fn plain(message: &DynamicMessage, left: usize) -> bool {
    if message.descriptor().full_name() == ANY {
        return match (unpacked(message), left.checked_sub(1)) {
            (Some(_), None) => false,
            (Some(inner), Some(left)) => plain(&inner, left),
            (None, _) => true,
        };
    }
    if WRAPPERS.contains(&message.descriptor().full_name()) {
        let mut numbers = message.fields().map(|(_, value)| value);
        return numbers.all(|value| match value {
            Value::F32(number) => number.is_finite(),
            Value::F64(number) => number.is_finite(),
            _ => true,
        });
    }
    fn of_value(value: &Value, left: usize) -> bool {
        match value {
            Value::Message(message) => plain(message, left),
            Value::List(values) => values.iter().all(|value| of_value(value, left)),
            Value::Map(values) => values.values().all(|value| of_value(value, left)),
            _ => true,
        }
    }
    let mut values = message.fields().map(|(_, value)| value);
    let mut extended = message.extensions().map(|(_, value)| value);
    values.all(|value| of_value(value, left)) && extended.all(|value| of_value(value, left))
}

/// A message as JSON; `left` more levels of `Any` are decoded.
fn within(message: &DynamicMessage, left: usize) -> Json {
    // What has a form by the rules keeps it.
    if plain(message, left)
        && let Ok(json) = strict::write(message, serde_json::value::Serializer)
    {
        return json;
    }
    let descriptor = message.descriptor();
    match descriptor.full_name() {
        ANY => any(message, left),
        "google.protobuf.Struct" => fields(message, left)
            .remove("fields")
            .unwrap_or_else(|| json!({})),
        "google.protobuf.ListValue" => fields(message, left)
            .remove("values")
            .unwrap_or_else(|| json!([])),
        name if WRAPPERS.contains(&name) => {
            fields(message, left).remove("value").unwrap_or_default()
        }
        // Its JSON is that of the one field that is set.
        "google.protobuf.Value" => {
            let set = message.fields().next();
            set.map_or(Json::Null, |(field, found)| {
                value(found, &field.kind(), left)
            })
        }
        _ => Json::Object(fields(message, left)),
    }
}

/// Bytes that are not the message they should be.
pub(crate) fn opaque(descriptor: &MessageDescriptor, bytes: &[u8]) -> Json {
    packed(&format!("{PREFIX}{}", descriptor.full_name()), bytes)
}

fn packed(url: &str, bytes: &[u8]) -> Json {
    json!({"@type": url, "value": BASE64_STANDARD.encode(bytes)})
}

/// The name of the type in an `Any`, and its bytes.
fn parts(message: &DynamicMessage) -> (String, Bytes) {
    let url = message.get_field_by_name("type_url");
    let url = url.as_deref().and_then(Value::as_str).unwrap_or_default();
    let bytes = message.get_field_by_name("value");
    let bytes = bytes.as_deref().and_then(Value::as_bytes);
    (url.to_owned(), bytes.cloned().unwrap_or_default())
}

/// The message in an `Any`, if its type is known and its bytes are of that type.
fn unpacked(message: &DynamicMessage) -> Option<DynamicMessage> {
    let (url, bytes) = parts(message);
    let name = url.rsplit('/').next()?;
    let descriptor = message.descriptor();
    let inner = descriptor.parent_pool().get_message_by_name(name)?;
    DynamicMessage::decode(inner, bytes).ok()
}

fn any(message: &DynamicMessage, left: usize) -> Json {
    let (url, bytes) = parts(message);
    if url.is_empty() && bytes.is_empty() {
        return json!({});
    }
    let (Some(left), Some(inner)) = (left.checked_sub(1), unpacked(message)) else {
        return packed(&url, &bytes);
    };
    // By the rules, a type with a JSON form of its own is under `value`.
    let own = inner
        .descriptor()
        .full_name()
        .starts_with("google.protobuf.");
    match within(&inner, left) {
        Json::Object(mut fields) if !own => {
            fields.insert("@type".to_owned(), json!(url));
            Json::Object(fields)
        }
        other => json!({"@type": url, "value": other}),
    }
}

fn fields(message: &DynamicMessage, left: usize) -> Map<String, Json> {
    let descriptor = message.descriptor();
    let there = descriptor
        .fields()
        .filter(|field| !field.supports_presence() || message.has_field(field));
    let fields = there.map(|field| {
        let json = value(&message.get_field(&field), &field.kind(), left);
        (field.name().to_owned(), json)
    });
    let extensions = message.extensions().map(|(field, found)| {
        (
            field.json_name().to_owned(),
            value(found, &field.kind(), left),
        )
    });
    fields.chain(extensions).collect()
}

fn value(value: &Value, kind: &Kind, left: usize) -> Json {
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
        Value::Message(value) => within(value, left),
        Value::List(values) => {
            let items = values.iter();
            items.map(|item| self::value(item, kind, left)).collect()
        }
        Value::Map(values) => {
            let kind = match kind {
                Kind::Message(entry) if entry.is_map_entry() => {
                    entry.map_entry_value_field().kind()
                }
                other => other.clone(),
            };
            let pairs = values
                .iter()
                .map(|(key, item)| (self::key(key), self::value(item, &kind, left)));
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
