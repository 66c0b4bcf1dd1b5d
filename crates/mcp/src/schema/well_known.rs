//! Messages with a JSON form of their own.

use serde_json::{Value, json};

use super::Side;

/// Whether the JSON of a message with a form of its own is an object; `None` for any other message.
pub(super) fn is_object(name: &str) -> Option<bool> {
    let name = name.strip_prefix("google.protobuf.")?;
    match name {
        "Any" | "Struct" | "Empty" => Some(true),
        "Timestamp" | "Duration" | "FieldMask" | "Value" | "ListValue" | "BoolValue"
        | "StringValue" | "BytesValue" | "Int32Value" | "UInt32Value" | "Int64Value"
        | "UInt64Value" | "FloatValue" | "DoubleValue" => Some(false),
        _ => None,
    }
}

/// The schema of a message with a form of its own.
pub(super) fn schema(name: &str, side: Side) -> Option<Value> {
    let name = name.strip_prefix("google.protobuf.")?;
    Some(match (name, side) {
        ("Timestamp", Side::Input) => json!({"type": "string", "format": "date-time",
            "description": "A time, such as 2026-01-02T03:04:05Z"}),
        // Of a time outside of the years 1 to 9999 there is no such text.
        ("Timestamp", Side::Output) => json!({"type": "string",
            "description": "A time, such as 2026-01-02T03:04:05Z"}),
        ("Duration", _) => json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$",
            "description": "Seconds, such as 1.5s"}),
        ("FieldMask", _) => json!({"type": "string",
            "description": "Paths of fields in lowerCamelCase, separated by commas"}),
        ("Empty", Side::Input) => json!({"type": "object", "properties": {},
            "additionalProperties": false}),
        ("Empty", Side::Output) => json!({"type": "object", "properties": {}}),
        ("Struct", _) => json!({"type": "object", "description": "Any JSON object"}),
        ("ListValue", _) => json!({"type": "array", "items": any(&any_array()),
            "description": "Any JSON array"}),
        ("Value", _) => {
            let mut schema = any(&json!({"type": "array", "items": any(&any_array())}));
            schema["description"] = "Any JSON value".into();
            schema
        }
        ("Any", _) => json!({"type": "object", "properties": {"@type": {"type": "string",
            "description": "The type, such as type.googleapis.com/pkg.Message"}},
            "description": "A message of any type, with its fields beside @type"}),
        ("BoolValue", _) => json!({"type": "boolean"}),
        ("StringValue", _) => json!({"type": "string"}),
        ("BytesValue", _) => json!({"type": "string", "contentEncoding": "base64",
            "description": "In base64"}),
        ("Int32Value", _) => json!({"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX}),
        ("UInt32Value", _) => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
        ("Int64Value", _) => json!({"type": "string", "pattern": "^-?[0-9]{1,19}$"}),
        ("UInt64Value", _) => json!({"type": "string", "pattern": "^[0-9]{1,20}$"}),
        ("FloatValue" | "DoubleValue", side) => number(side),
        _ => return None,
    })
}

/// Any value: a schema that allows everything without saying so is refused by some providers.
fn any(array: &Value) -> Value {
    json!({"anyOf": [{"type": "null"}, {"type": "boolean"}, {"type": "number"}, {"type": "string"},
        array, {"type": "object"}]})
}

/// An array in an array, where what is allowed is not said once more.
fn any_array() -> Value {
    json!({"type": "array"})
}

/// A floating-point number. JSON has neither NaN nor the infinities, which are words then.
pub(super) fn number(side: Side) -> Value {
    match side {
        Side::Input => json!({"type": "number"}),
        Side::Output => json!({"anyOf": [{"type": "number"},
            {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}),
    }
}
