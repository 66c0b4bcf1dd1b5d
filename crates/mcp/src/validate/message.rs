//! A message from JSON, by its descriptor.

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use serde_json::{Map, Value as Json};

use super::{
    ArgumentError, ArgumentRules,
    plan::FieldRules,
    problems::{Problems, listed, nearest, quoted, shown},
    scalar,
};

/// Elements of a list that are compared with each other.
const MAX_COMPARED: usize = 1_000;

/// Reads messages and collects what is wrong with them.
pub(super) struct Reader<'a> {
    rules: &'a ArgumentRules,
    /// Where in the arguments it is, such as `user.tags[2]`.
    path: String,
    problems: Problems,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rules: &'a ArgumentRules) -> Self {
        Self {
            rules,
            path: String::new(),
            problems: Problems::default(),
        }
    }

    /// What was read, unless something is wrong.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, ArgumentError> {
        match read {
            Some(read) if self.problems.is_empty() => Ok(read),
            _ => Err(self.problems.into_error()),
        }
    }

    /// Goes to a field, and says where it was.
    pub(super) fn enter(&mut self, name: &str) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        before
    }

    fn enter_index(&mut self, index: impl std::fmt::Display) -> usize {
        let before = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        before
    }

    fn leave(&mut self, before: usize) {
        self.path.truncate(before);
    }

    fn problem(&mut self, text: impl std::fmt::Display) {
        let problem = match self.path.is_empty() {
            true => text.to_string(),
            false => format!("{}: {text}", self.path),
        };
        self.problems.push(problem);
    }

    /// A value that is none, with what to give.
    pub(super) fn wrong(&mut self, value: &Json, advice: &str) {
        self.problem(format_args!("{} does not fit: {advice}", shown(value)));
    }

    pub(super) fn missing(&mut self, name: &str) {
        let before = self.enter(name);
        self.problem("is missing, and required");
        self.leave(before);
    }

    /// Refuses every field but one.
    pub(super) fn only(&mut self, name: &str, others: &Map<String, Json>) {
        for other in others.keys() {
            self.problem(format_args!(
                "there is no field {}: give {name}",
                quoted(other)
            ));
        }
    }

    pub(super) fn list(
        &mut self,
        descriptor: &MessageDescriptor,
        many: Vec<Json>,
    ) -> Option<Vec<DynamicMessage>> {
        let mut messages = Vec::with_capacity(many.len());
        for (index, one) in many.into_iter().enumerate() {
            let before = self.enter_index(index);
            messages.extend(self.message(descriptor, one));
            self.leave(before);
        }
        Some(messages)
    }

    /// A message; `None` when something is wrong with it, which has been noted.
    pub(super) fn message(
        &mut self,
        descriptor: &MessageDescriptor,
        json: Json,
    ) -> Option<DynamicMessage> {
        if let Some(name) = descriptor.full_name().strip_prefix("google.protobuf.")
            && is_well_known(name)
        {
            return self.well_known(descriptor, name, json);
        }
        let Json::Object(fields) = json else {
            self.wrong(&json, "give an object");
            return None;
        };
        let mut message = DynamicMessage::new(descriptor.clone());
        let rules = self.rules.get(descriptor.full_name());
        let mut given: Vec<FieldDescriptor> = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            let field = descriptor
                .get_field_by_name(&name)
                .or_else(|| descriptor.get_field_by_json_name(&name));
            let Some(field) = field else {
                self.unknown(descriptor, &name);
                continue;
            };
            if value.is_null() && !takes_null(&field) {
                continue;
            }
            self.check_twice(&field, &given);
            let own = rules.and_then(|rules| rules.fields.get(&field.number()));
            let before = self.enter(field.name());
            if own.is_some_and(|own| own.rules.output_only) {
                self.problem("the service sets it: leave it out");
            } else if let Some(value) = self.field(&field, value, own)
                && message.try_set_field(&field, value).is_err()
            {
                self.problem("has another type");
            }
            self.leave(before);
            given.push(field);
        }
        if let Some(rules) = rules {
            for name in &rules.required {
                if !given.iter().any(|field| field.name() == name) {
                    self.missing(name);
                }
            }
            for names in &rules.oneofs {
                if !given
                    .iter()
                    .any(|field| names.iter().any(|name| name == field.name()))
                {
                    self.problem(format_args!("give one of {}", names.join(", ")));
                }
            }
        }
        Some(message)
    }

    fn unknown(&mut self, descriptor: &MessageDescriptor, name: &str) {
        if self.problems.is_full() {
            // To look for what was meant takes long, and arguments may have any number of fields.
            return self.problem("");
        }
        let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
        let names = || fields.iter().map(FieldDescriptor::name);
        let given = quoted(name);
        match nearest(name, names()) {
            Some(meant) => {
                self.problem(format_args!(
                    "there is no field {given}: did you mean {meant}?"
                ));
            }
            None => self.problem(format_args!(
                "there is no field {given}: the fields are {}",
                listed(names())
            )),
        }
    }

    /// Whether the field, or another of its oneof, was given before.
    fn check_twice(&mut self, field: &FieldDescriptor, given: &[FieldDescriptor]) {
        if given.iter().any(|other| other.number() == field.number()) {
            let (name, json) = (field.name(), field.json_name());
            self.problem(format_args!(
                "{name} is given twice, as {json} too: give it once"
            ));
            return;
        }
        let Some(oneof) = field
            .containing_oneof()
            .filter(|oneof| !oneof.is_synthetic())
        else {
            return;
        };
        let other = given
            .iter()
            .find(|other| other.containing_oneof().as_ref() == Some(&oneof));
        if let Some(other) = other {
            let names: Vec<String> = oneof.fields().map(|it| it.name().to_owned()).collect();
            self.problem(format_args!(
                "{} and {} exclude each other: give at most one of {}",
                other.name(),
                field.name(),
                names.join(", ")
            ));
        }
    }

    fn field(
        &mut self,
        field: &FieldDescriptor,
        json: Json,
        rules: Option<&FieldRules>,
    ) -> Option<Value> {
        let kind = field.kind();
        if field.is_map() {
            return self.map(&kind, json, rules);
        }
        if !field.is_list() {
            return self.value(&kind, json, rules);
        }
        let Json::Array(many) = json else {
            self.wrong(&json, "give a list");
            return None;
        };
        self.check_count(many.len(), rules);
        // Each is compared with each: of longer lists the service says it.
        if rules.is_some_and(|rules| rules.rules.unique) && many.len() <= MAX_COMPARED {
            let twice = (1..many.len()).find(|at| many[..*at].contains(&many[*at]));
            if let Some(at) = twice {
                self.problem(format_args!("element {at} is there twice: give each once"));
            }
        }
        let items = rules.and_then(|rules| rules.items.as_deref());
        let mut values = Vec::with_capacity(many.len());
        for (index, one) in many.into_iter().enumerate() {
            let before = self.enter_index(index);
            values.extend(self.value(&kind, one, items));
            self.leave(before);
        }
        Some(Value::List(values))
    }

    fn map(&mut self, kind: &Kind, json: Json, rules: Option<&FieldRules>) -> Option<Value> {
        let Json::Object(entries) = json else {
            self.wrong(&json, "give an object");
            return None;
        };
        let entry = kind.as_message()?;
        let (keys, values) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let (keys, values) = (keys.kind(), values.kind());
        self.check_count(entries.len(), rules);
        let items = rules.and_then(|rules| rules.items.as_deref());
        let mut map = HashMap::with_capacity(entries.len());
        for (key, value) in entries {
            let before = self.enter_index(quoted(&key));
            let read = scalar::key(&keys, &key);
            if read.is_none() {
                self.problem(format_args!(
                    "{} is no key: {}",
                    quoted(&key),
                    scalar::keys(&keys)
                ));
            }
            let value = self.value(&values, value, items);
            self.leave(before);
            if let (Some(key), Some(value)) = (read, value) {
                let key: MapKey = key;
                map.insert(key, value);
            }
        }
        Some(Value::Map(map))
    }

    fn check_count(&mut self, count: usize, rules: Option<&FieldRules>) {
        let Some(rules) = rules else { return };
        let count = count as u64;
        if let Some(min) = rules.rules.min_items.filter(|min| count < *min) {
            self.problem(format_args!("has {count}: give at least {min}"));
        }
        if let Some(max) = rules.rules.max_items.filter(|max| count > *max) {
            self.problem(format_args!("has {count}: give at most {max}"));
        }
    }

    fn value(&mut self, kind: &Kind, json: Json, rules: Option<&FieldRules>) -> Option<Value> {
        if let Kind::Message(descriptor) = kind {
            return self.message(descriptor, json).map(Value::Message);
        }
        match scalar::value(kind, &json) {
            Ok(value) => {
                if let Some(problem) = rules.and_then(|rules| scalar::check(&value, rules)) {
                    self.problem(format_args!("{} {problem}", shown(&json)));
                }
                Some(value)
            }
            Err(advice) => {
                self.wrong(&json, &advice);
                None
            }
        }
    }

    /// A message with a JSON form of its own.
    fn well_known(
        &mut self,
        descriptor: &MessageDescriptor,
        name: &str,
        json: Json,
    ) -> Option<DynamicMessage> {
        if name.ends_with("Value") && !matches!(name, "Value" | "ListValue") {
            let field = descriptor.get_field(1)?;
            let value = self.value(&field.kind(), json, None)?;
            let mut message = DynamicMessage::new(descriptor.clone());
            if message.try_set_field(&field, value).is_err() {
                self.problem("has another type");
            }
            return Some(message);
        }
        match DynamicMessage::deserialize(descriptor.clone(), &json) {
            Ok(message) => Some(message),
            Err(error) => {
                let advice = match name {
                    "Timestamp" => "give a time such as 2026-01-02T03:04:05Z".to_owned(),
                    "Duration" => "give seconds such as 1.5s".to_owned(),
                    "Struct" => "give an object".to_owned(),
                    "ListValue" => "give a list".to_owned(),
                    "Empty" => "give {}".to_owned(),
                    _ => telemetry::humanize(&error.to_string()).into_owned(),
                };
                self.wrong(&json, &advice);
                None
            }
        }
    }
}

/// Whether null is a value of the field, and does not mean that it is left out.
fn takes_null(field: &FieldDescriptor) -> bool {
    if field.is_list() || field.is_map() {
        return false;
    }
    match field.kind() {
        Kind::Message(message) => message.full_name() == "google.protobuf.Value",
        Kind::Enum(descriptor) => descriptor.full_name() == "google.protobuf.NullValue",
        _ => false,
    }
}

fn is_well_known(name: &str) -> bool {
    matches!(
        name,
        "Timestamp"
            | "Duration"
            | "FieldMask"
            | "Struct"
            | "ListValue"
            | "Value"
            | "Any"
            | "Empty"
            | "BoolValue"
            | "StringValue"
            | "BytesValue"
            | "Int32Value"
            | "UInt32Value"
            | "Int64Value"
            | "UInt64Value"
            | "FloatValue"
            | "DoubleValue"
    )
}
