//! The schema of a message. One pass goes to a certain depth; the deepest that fits is taken.

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{SchemaOptions, comments::Comments, well_known};
use crate::rules::{self, Rules};

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// To the service.
    Input,
    /// From the service.
    Output,
}

/// Bytes of a property beside its name, texts and lists, about.
const PROPERTY: usize = 24;
/// Names of fields that are listed of a free object.
const LISTED: usize = 20;
/// Names that a schema lists for an enum.
const MAX_NAMES: usize = 200;

/// The schema of a message, by options.
pub(super) fn schema(message: &MessageDescriptor, side: Side, options: &SchemaOptions) -> Value {
    let mut comments = Comments::default();
    let mut best = None;
    for depth in 1..=options.max_depth {
        let mut builder = Builder {
            side,
            depth,
            left: options.max_bytes,
            comments: &mut comments,
            is_cut: false,
            within: Vec::new(),
        };
        let Some(schema) = builder.message(message) else {
            break;
        };
        let is_whole = !builder.is_cut;
        if schema.to_string().len() > options.max_bytes {
            break;
        }
        best = Some(schema);
        if is_whole {
            break;
        }
    }
    best.unwrap_or_else(|| free(message, options.max_bytes))
}

/// Whether the JSON of a message is an object.
pub(crate) fn is_object(message: &MessageDescriptor) -> bool {
    well_known::is_object(message.full_name()).unwrap_or(true)
}

/// One pass to one depth.
struct Builder<'a> {
    side: Side,
    depth: usize,
    /// Bytes that may still be used.
    left: usize,
    comments: &'a mut Comments,
    /// A message was too deep for this pass, and a deeper one may show it.
    is_cut: bool,
    /// Full names of the messages around.
    within: Vec<String>,
}

impl Builder<'_> {
    /// The schema of a message; `None` when there is no room for it.
    fn message(&mut self, message: &MessageDescriptor) -> Option<Value> {
        if let Some(schema) = well_known::schema(message.full_name(), self.side) {
            self.spend(schema.to_string().len())?;
            return Some(schema);
        }
        if self.within.iter().any(|name| name == message.full_name()) {
            return self.free(message);
        }
        if self.within.len() >= self.depth {
            self.is_cut = true;
            return self.free(message);
        }
        self.within.push(message.full_name().to_owned());
        let schema = self.fields(message);
        self.within.pop();
        schema
    }

    fn free(&mut self, message: &MessageDescriptor) -> Option<Value> {
        let schema = free(message, usize::MAX);
        self.spend(schema.to_string().len())?;
        Some(schema)
    }

    fn fields(&mut self, message: &MessageDescriptor) -> Option<Value> {
        self.spend(PROPERTY * 2)?;
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for field in message.fields() {
            let rules = Rules::of(&field);
            if self.side == Side::Input && rules.output_only {
                continue;
            }
            self.spend(PROPERTY + field.name().len())?;
            let schema = self.field(&field, &rules)?;
            properties.insert(field.name().to_owned(), schema);
            // Of a oneof only one can be given.
            let is_alone = field
                .containing_oneof()
                .is_none_or(|oneof| oneof.is_synthetic());
            if self.side == Side::Input && rules.required && is_alone {
                self.spend(field.name().len() + 3)?;
                required.push(field.name().to_owned());
            }
        }
        let mut schema = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if self.side == Side::Input {
            schema["additionalProperties"] = json!(false);
        }
        Some(schema)
    }

    fn field(&mut self, field: &FieldDescriptor, rules: &Rules) -> Option<Value> {
        let none = Rules::default();
        let inner = rules.items.as_deref().unwrap_or(&none);
        let (mut schema, about) = if field.is_map() {
            let entry = field.kind();
            let entry = entry.as_message()?;
            let values = entry.map_entry_value_field();
            let mut schema = json!({"type": "object"});
            schema["additionalProperties"] = self.value(&values.kind(), inner)?;
            let keys = entry.map_entry_key_field().kind();
            let about = match keys {
                Kind::String => String::new(),
                Kind::Bool => "Keys are true and false".to_owned(),
                _ => "Keys are whole numbers".to_owned(),
            };
            (schema, about)
        } else if field.is_list() {
            let mut schema = json!({"type": "array"});
            schema["items"] = self.value(&field.kind(), inner)?;
            (schema, String::new())
        } else {
            let schema = self.value(&field.kind(), rules)?;
            (schema, long_bounds(&field.kind(), rules))
        };
        if self.side == Side::Input {
            let names = match field.is_map() {
                true => ("minProperties", "maxProperties"),
                false => ("minItems", "maxItems"),
            };
            put(&mut schema, names.0, rules.min_items.map(Value::from));
            put(&mut schema, names.1, rules.max_items.map(Value::from));
            put(
                &mut schema,
                "uniqueItems",
                rules.unique.then_some(Value::Bool(true)),
            );
        }
        self.describe(&mut schema, field, &about)?;
        Some(schema)
    }

    /// Joins what the file says of a field, its oneof, and what the schema already says.
    fn describe(&mut self, schema: &mut Value, field: &FieldDescriptor, about: &str) -> Option<()> {
        let comment = self
            .comments
            .of(&field.parent_file(), field.path())
            .to_owned();
        let oneof = self.oneof(field);
        let own = schema["description"].as_str().unwrap_or_default();
        let parts = [comment.as_str(), oneof.as_str(), own, about];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let text = parts
            .iter()
            .map(|part| part.trim_end_matches('.'))
            .collect::<Vec<_>>()
            .join(". ");
        if !text.is_empty() {
            self.spend(text.len() + 16)?;
            schema["description"] = json!(text);
        }
        Some(())
    }

    fn oneof(&self, field: &FieldDescriptor) -> String {
        let oneof = field
            .containing_oneof()
            .filter(|oneof| !oneof.is_synthetic());
        let Some(oneof) = oneof else {
            return String::new();
        };
        let names: Vec<String> = oneof.fields().map(|it| it.name().to_owned()).collect();
        if names.len() < 2 {
            return String::new();
        }
        let names = names.join(", ");
        match self.side == Side::Input && rules::is_oneof_required(&oneof) {
            true => format!("Exactly one of {names}"),
            false => format!("At most one of {names}"),
        }
    }

    /// One value of a kind.
    fn value(&mut self, kind: &Kind, rules: &Rules) -> Option<Value> {
        let mut schema = match kind {
            Kind::Message(message) => return self.message(message),
            Kind::Enum(descriptor) => self.enumeration(descriptor, rules)?,
            other => self.scalar(other),
        };
        if self.side == Side::Input {
            constrain(&mut schema, kind, rules);
        }
        self.spend(schema.to_string().len())?;
        Some(schema)
    }

    fn scalar(&self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64",
                "description": "In base64"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                json!({"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX})
            }
            Kind::Uint32 | Kind::Fixed32 => {
                json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({"type": "string", "pattern": "^-?[0-9]{1,19}$"})
            }
            Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "pattern": "^[0-9]{1,20}$"}),
            Kind::Float | Kind::Double => well_known::number(self.side),
            Kind::Message(_) | Kind::Enum(_) => json!({}),
        }
    }

    fn enumeration(&mut self, descriptor: &EnumDescriptor, rules: &Rules) -> Option<Value> {
        if descriptor.full_name() == "google.protobuf.NullValue" {
            return Some(json!({"type": "null"}));
        }
        let allowed = |number: i32| {
            rules.one_of.is_empty()
                || rules
                    .one_of
                    .iter()
                    .any(|it| it.as_i64() == Some(number.into()))
        };
        let values = descriptor.values();
        let names: Vec<String> = values
            .filter(|value| self.side == Side::Output || allowed(value.number()))
            .map(|value| value.name().to_owned())
            .collect();
        if names.len() > MAX_NAMES {
            let about = format!("A name of {}, such as {}", descriptor.full_name(), names[0]);
            return Some(json!({"type": "string", "description": about}));
        }
        let named = json!({"type": "string", "enum": names});
        Some(match self.side {
            Side::Input => named,
            Side::Output => json!({"anyOf": [named, {"type": "string", "pattern": "^-?[0-9]+$"}],
                "description": "A number without a name is its decimal text"}),
        })
    }

    fn spend(&mut self, bytes: usize) -> Option<()> {
        self.left = self.left.checked_sub(bytes)?;
        Some(())
    }
}

/// A message that is not shown, as any object.
fn free(message: &MessageDescriptor, max_bytes: usize) -> Value {
    let fields = message.fields();
    let more = fields.len().saturating_sub(LISTED);
    let names: Vec<String> = fields
        .take(LISTED)
        .map(|field| field.name().to_owned())
        .collect();
    let mut text = format!("A {}", message.full_name());
    if !names.is_empty() {
        text += &format!(", with the fields {}", names.join(", "));
    }
    if more > 0 {
        text += &format!(" and {more} more");
    }
    let schema = json!({"type": "object", "description": text});
    match schema.to_string().len() > max_bytes {
        true => json!({"type": "object"}),
        false => schema,
    }
}

fn put(schema: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        schema[name] = value;
    }
}

/// The keywords of rules.
fn constrain(schema: &mut Value, kind: &Kind, rules: &Rules) {
    match kind {
        Kind::String => {
            put(schema, "minLength", rules.min_length.map(Value::from));
            put(schema, "maxLength", rules.max_length.map(Value::from));
            let pattern = rules.pattern.clone().filter(|pattern| is_portable(pattern));
            put(schema, "pattern", pattern.map(Value::from));
            put(schema, "format", rules.format.map(Value::from));
        }
        Kind::Int32
        | Kind::Sint32
        | Kind::Sfixed32
        | Kind::Uint32
        | Kind::Fixed32
        | Kind::Float
        | Kind::Double => {
            let bounds = [
                (&rules.min, "minimum", "exclusiveMinimum"),
                (&rules.max, "maximum", "exclusiveMaximum"),
            ];
            for (bound, inclusive, exclusive) in bounds {
                let Some(bound) = bound else { continue };
                let name = if bound.is_exclusive {
                    exclusive
                } else {
                    inclusive
                };
                if let (true, Some(fields)) = (bound.is_exclusive, schema.as_object_mut()) {
                    fields.remove(inclusive);
                }
                put(schema, name, Some(Value::Number(bound.value.clone())));
            }
        }
        _ => {}
    }
    let is_enum = matches!(kind, Kind::Enum(_));
    if !rules.one_of.is_empty() && !is_enum {
        let texts = matches!(schema["type"].as_str(), Some("string"));
        let values = rules.one_of.iter().map(|value| match (texts, value) {
            (true, Value::Number(number)) => Value::from(number.to_string()),
            _ => value.clone(),
        });
        schema["enum"] = values.collect();
    }
}

/// The bounds of a 64-bit number, which is a text and has no keyword for them.
fn long_bounds(kind: &Kind, rules: &Rules) -> String {
    let is_long = matches!(
        kind,
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64
    );
    if !is_long {
        return String::new();
    }
    let bounds = [(&rules.min, ">", "at least"), (&rules.max, "<", "at most")];
    let texts = bounds.iter().filter_map(|(bound, exclusive, inclusive)| {
        let bound = bound.as_ref()?;
        let word = if bound.is_exclusive {
            exclusive
        } else {
            inclusive
        };
        Some(format!("{word} {}", bound.value))
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Whether a pattern means the same to RE2, in which it is written, and to ECMA and Python.
fn is_portable(pattern: &str) -> bool {
    let mut rest = pattern.replace("(?:", "(");
    if rest.contains("(?") || rest.contains("[[:") || rest.contains("&&") {
        return false;
    }
    rest = rest.replace("\\\\", "");
    let mut escapes = rest
        .split('\\')
        .skip(1)
        .filter_map(|part| part.chars().next());
    escapes.all(|c| "dDwWsSbBntrfv".contains(c) || c.is_ascii_punctuation())
}
