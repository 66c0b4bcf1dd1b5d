//! Messages as JSON, such that every one fits its own schema: protojson with the names of the proto file
//! and every field. What protojson has no form for gets the nearest one of the same type.

mod time;

use std::collections::HashMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};

use crate::result::push_string;

/// Deepest `Any` within an `Any` that is decoded: each begins the depth of messages anew.
const DEEPEST_ANY: usize = 16;
/// Messages within each other past which no `Any` is decoded: what writes them uses the stack.
const DEEPEST_MESSAGE: usize = 64;

/// What the number of an enum without a name becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Its decimal text, as the schema of the output has it.
    AsText,
    /// A number, as protojson has it.
    AsNumbers,
}

/// Writes a message, at most `max_bytes`; the answer is whether that was enough.
pub(crate) fn write(
    message: &DynamicMessage,
    json: &mut String,
    max_bytes: usize,
    numbers: Numbers,
) -> bool {
    let mut writer = Writer {
        end: json.len().saturating_add(max_bytes),
        json,
        any: DEEPEST_ANY,
        depth: 0,
        numbers,
    };
    writer.message(message);
    writer.json.len() <= writer.end
}

/// Milliseconds since 1970 as RFC 3339.
pub(crate) fn milliseconds(at: u64) -> String {
    let at = i64::try_from(at).unwrap_or(i64::MAX);
    time::timestamp(at / 1_000, at % 1_000 * 1_000_000)
}

struct Writer<'a> {
    json: &'a mut String,
    /// The length at which writing stops: the rest would not be used.
    end: usize,
    /// How many more levels of `Any` are decoded.
    any: usize,
    /// How many messages are around.
    depth: usize,
    numbers: Numbers,
}

impl Writer<'_> {
    fn message(&mut self, message: &DynamicMessage) {
        if self.json.len() > self.end {
            return;
        }
        let descriptor = message.descriptor();
        self.depth += 1;
        match descriptor.full_name().strip_prefix("google.protobuf.") {
            Some(name) if self.well_known(name, message) => {}
            _ => {
                self.json.push('{');
                self.fields(message, &descriptor, "");
                self.json.push('}');
            }
        }
        self.depth -= 1;
    }

    /// The fields of a message, after `between`.
    fn fields(
        &mut self,
        message: &DynamicMessage,
        descriptor: &MessageDescriptor,
        mut between: &'static str,
    ) {
        for field in descriptor.fields() {
            if field.supports_presence() && !message.has_field(&field) {
                continue;
            }
            self.json.push_str(between);
            between = ",";
            push_string(self.json, field.name());
            self.json.push(':');
            self.value(&message.get_field(&field), &field.kind());
        }
        for (extension, value) in message.extensions() {
            self.json.push_str(between);
            between = ",";
            push_string(self.json, extension.json_name());
            self.json.push(':');
            self.value(value, &extension.kind());
        }
    }

    fn value(&mut self, value: &Value, kind: &Kind) {
        match value {
            Value::Bool(value) => self.json.push_str(if *value { "true" } else { "false" }),
            Value::I32(value) => self.display(value),
            Value::U32(value) => self.display(value),
            // As texts, since JSON's numbers lose some of them.
            Value::I64(value) => self.quoted(value),
            Value::U64(value) => self.quoted(value),
            Value::F32(value) => self.float(f64::from(*value), serde_json::to_string(value)),
            Value::F64(value) => self.float(*value, serde_json::to_string(value)),
            Value::String(value) => push_string(self.json, value),
            Value::Bytes(value) => self.bytes(value),
            Value::EnumNumber(number) => match kind {
                Kind::Enum(descriptor) => self.enumeration(descriptor, *number),
                _ => self.quoted(number),
            },
            Value::Message(message) => self.message(message),
            Value::List(values) => self.list(values, kind),
            Value::Map(entries) => self.map(entries, kind),
        }
    }

    fn list(&mut self, values: &[Value], kind: &Kind) {
        self.json.push('[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.json.push(',');
            }
            if self.json.len() > self.end {
                break;
            }
            self.value(value, kind);
        }
        self.json.push(']');
    }

    /// Sorted, so that one message has one text.
    fn map(&mut self, entries: &HashMap<MapKey, Value>, kind: &Kind) {
        let kind = match kind {
            Kind::Message(entry) if entry.is_map_entry() => entry.map_entry_value_field().kind(),
            other => other.clone(),
        };
        let mut sorted: Vec<_> = entries.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        self.json.push('{');
        for (index, (key, value)) in sorted.into_iter().enumerate() {
            if index > 0 {
                self.json.push(',');
            }
            if self.json.len() > self.end {
                break;
            }
            match key {
                MapKey::Bool(key) => self.quoted(key),
                MapKey::I32(key) => self.quoted(key),
                MapKey::I64(key) => self.quoted(key),
                MapKey::U32(key) => self.quoted(key),
                MapKey::U64(key) => self.quoted(key),
                MapKey::String(key) => push_string(self.json, key),
            }
            self.json.push(':');
            self.value(value, &kind);
        }
        self.json.push('}');
    }

    fn display(&mut self, value: &impl std::fmt::Display) {
        use std::fmt::Write as _;
        // A String takes every text.
        write!(self.json, "{value}").ok();
    }

    fn quoted(&mut self, value: &impl std::fmt::Display) {
        self.json.push('"');
        self.display(value);
        self.json.push('"');
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.json.push('"');
        BASE64_STANDARD.encode_string(bytes, self.json);
        self.json.push('"');
    }

    fn float(&mut self, value: f64, text: serde_json::Result<String>) {
        match text {
            Ok(text) if value.is_finite() => self.json.push_str(&text),
            _ if value.is_nan() => self.json.push_str("\"NaN\""),
            _ if value > 0.0 => self.json.push_str("\"Infinity\""),
            _ => self.json.push_str("\"-Infinity\""),
        }
    }

    fn enumeration(&mut self, descriptor: &EnumDescriptor, number: i32) {
        match descriptor.get_value(number) {
            _ if descriptor.full_name() == "google.protobuf.NullValue" => {
                self.json.push_str("null")
            }
            Some(value) => push_string(self.json, value.name()),
            None if self.numbers == Numbers::AsNumbers => self.display(&number),
            None => self.quoted(&number),
        }
    }

    /// Writes a message with a form of its own; false for another of Google's.
    fn well_known(&mut self, name: &str, message: &DynamicMessage) -> bool {
        let number = |field: u32| {
            let value = message.get_field_by_number(field);
            value
                .as_deref()
                .and_then(|it| it.as_i64().or(it.as_i32().map(i64::from)))
        };
        match name {
            "Timestamp" => {
                let text = time::timestamp(number(1).unwrap_or(0), number(2).unwrap_or(0));
                push_string(self.json, &text);
            }
            "Duration" => {
                let text = time::duration(number(1).unwrap_or(0), number(2).unwrap_or(0));
                push_string(self.json, &text);
            }
            "FieldMask" => {
                let paths = message.get_field_by_number(1);
                let paths = paths
                    .as_deref()
                    .and_then(Value::as_list)
                    .unwrap_or_default();
                let paths = paths.iter().filter_map(Value::as_str).map(camel_case);
                push_string(self.json, &paths.collect::<Vec<_>>().join(","));
            }
            "Empty" => self.json.push_str("{}"),
            "Any" => self.any(message),
            "Struct" => self.field_or(message, "{}"),
            "ListValue" => self.field_or(message, "[]"),
            "Value" => match message.fields().next() {
                Some((field, value)) => self.value(value, &field.kind()),
                None => self.json.push_str("null"),
            },
            "BoolValue" | "StringValue" | "BytesValue" | "Int32Value" | "UInt32Value"
            | "Int64Value" | "UInt64Value" | "FloatValue" | "DoubleValue" => {
                self.field_or(message, "null");
            }
            _ => return false,
        }
        true
    }

    /// The field with the number 1 of a message.
    fn field_or(&mut self, message: &DynamicMessage, otherwise: &str) {
        let descriptor = message.descriptor();
        match descriptor.get_field(1) {
            Some(field) => self.value(&message.get_field(&field), &field.kind()),
            None => self.json.push_str(otherwise),
        }
    }

    fn any(&mut self, message: &DynamicMessage) {
        let url = message.get_field_by_number(1);
        let url = url.as_deref().and_then(Value::as_str).unwrap_or_default();
        let bytes = message.get_field_by_number(2);
        let bytes = bytes
            .as_deref()
            .and_then(Value::as_bytes)
            .cloned()
            .unwrap_or_default();
        if url.is_empty() && bytes.is_empty() {
            return self.json.push_str("{}");
        }
        self.json.push_str("{\"@type\":");
        push_string(self.json, url);
        let name = url.rsplit('/').next().unwrap_or_default();
        let known = message.descriptor().parent_pool().get_message_by_name(name);
        let inner = known.filter(|_| self.any > 0 && self.depth <= DEEPEST_MESSAGE);
        match inner.and_then(|inner| DynamicMessage::decode(inner, bytes.clone()).ok()) {
            Some(inner) => {
                self.any -= 1;
                // By the rules, a type with a JSON form of its own is under `value`.
                if name.starts_with("google.protobuf.") {
                    self.json.push_str(",\"value\":");
                    self.message(&inner);
                } else {
                    self.fields(&inner, &inner.descriptor(), ",");
                }
                self.any += 1;
            }
            None => {
                self.json.push_str(",\"value\":");
                self.bytes(&bytes);
            }
        }
        self.json.push('}');
    }
}

/// `a_path.to_a_field` as `aPath.toAField`.
fn camel_case(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut upper = false;
    for c in path.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                text.extend(c.to_uppercase());
                upper = false;
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use dynamic::FilePool;
    use prost::Message as _;
    use prost_reflect::prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto,
        field_descriptor_proto::{Label, Type},
    };

    use super::*;

    /// A message of one field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        prost::encode_length_delimiter(bytes.len(), &mut out).unwrap();
        out.extend_from_slice(bytes);
        out
    }

    /// Each `Any` begins the depth of messages anew, and what writes them uses the stack.
    #[test]
    fn messages_in_messages_without_an_end_are_written_to_a_depth() {
        let of = |name: &str, number: i32, of: &str| FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            r#type: Some(Type::Message.into()),
            label: Some(Label::Optional.into()),
            type_name: Some(of.to_owned()),
            ..FieldDescriptorProto::default()
        };
        let file = FileDescriptorProto {
            name: Some("deep.proto".to_owned()),
            syntax: Some("proto3".to_owned()),
            dependency: vec!["google/protobuf/any.proto".to_owned()],
            message_type: vec![DescriptorProto {
                name: Some("Deep".to_owned()),
                field: vec![of("next", 1, ".Deep"), of("any", 2, ".google.protobuf.Any")],
                ..DescriptorProto::default()
            }],
            ..FileDescriptorProto::default()
        };
        let files = FilePool::new(&[file.encode_to_vec().into()]);
        let deep = files.pool.get_message_by_name("Deep").unwrap();
        let mut bytes = Vec::new();
        for _ in 0..DEEPEST_ANY {
            let any = [field(1, b"x/Deep"), field(2, &bytes)].concat();
            bytes = field(2, &any);
            for _ in 0..90 {
                bytes = field(1, &bytes);
            }
        }
        let message = DynamicMessage::decode(deep, bytes.as_slice()).unwrap();
        let mut json = String::new();
        assert!(write(&message, &mut json, 1 << 20, Numbers::AsText));
        let deepest = json.split('}').next().unwrap().matches('{').count();
        assert!((90..200).contains(&deepest), "{deepest}");
    }
}
