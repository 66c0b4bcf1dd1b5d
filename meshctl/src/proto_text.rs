//! Descriptors as text, much as the proto file was, and as JSON.

use std::collections::{BTreeMap, btree_map::Entry};

use prost_reflect::{
    Cardinality, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    ServiceDescriptor,
};
use serde_json::{Value, json};

/// A symbol that can be described.
#[derive(Debug)]
pub(crate) enum Symbol {
    Service(ServiceDescriptor),
    Method(MethodDescriptor),
    Message(MessageDescriptor),
    Enum(EnumDescriptor),
}

/// The messages and enums that a symbol is made of.
#[derive(Debug, Default)]
struct Parts {
    messages: BTreeMap<String, MessageDescriptor>,
    enums: BTreeMap<String, EnumDescriptor>,
}

impl Symbol {
    pub(crate) fn full_name(&self) -> &str {
        match self {
            Self::Service(service) => service.full_name(),
            Self::Method(method) => method.full_name(),
            Self::Message(message) => message.full_name(),
            Self::Enum(it) => it.full_name(),
        }
    }

    /// As in a proto file: the symbol first, then what it is made of.
    pub(crate) fn text(&self) -> String {
        let mut blocks = match self {
            Self::Service(service) => vec![service_text(service, service.methods())],
            Self::Method(method) => {
                vec![service_text(
                    method.parent_service(),
                    std::iter::once(method.clone()),
                )]
            }
            Self::Message(_) | Self::Enum(_) => Vec::new(),
        };
        let mut parts = self.parts();
        if let Self::Message(message) = self {
            parts.messages.remove(message.full_name());
            blocks.push(message_text(message));
        }
        blocks.extend(parts.messages.values().map(message_text));
        blocks.extend(parts.enums.values().map(enum_text));
        blocks.join("\n\n")
    }

    /// The same facts for programs.
    pub(crate) fn value(&self) -> Value {
        let methods: Vec<Value> = match self {
            Self::Service(service) => service.methods().map(|it| method_value(&it)).collect(),
            Self::Method(method) => vec![method_value(method)],
            Self::Message(_) | Self::Enum(_) => Vec::new(),
        };
        let parts = self.parts();
        json!({
            "methods": methods,
            "messages": parts.messages.values().map(message_value).collect::<Vec<_>>(),
            "enums": parts.enums.values().map(enum_value).collect::<Vec<_>>(),
        })
    }

    fn parts(&self) -> Parts {
        let mut parts = Parts::default();
        match self {
            Self::Service(service) => service.methods().for_each(|it| parts.add_method(&it)),
            Self::Method(method) => parts.add_method(method),
            Self::Message(message) => parts.add(message),
            Self::Enum(it) => drop(parts.enums.insert(it.full_name().to_owned(), it.clone())),
        }
        parts
    }
}

impl Parts {
    fn add_method(&mut self, method: &MethodDescriptor) {
        self.add(&method.input());
        self.add(&method.output());
    }

    /// Google's own types are left out: they are well known.
    fn add(&mut self, message: &MessageDescriptor) {
        if message.package_name() == "google.protobuf" {
            return;
        }
        if !message.is_map_entry() {
            match self.messages.entry(message.full_name().to_owned()) {
                Entry::Occupied(_) => return,
                Entry::Vacant(place) => drop(place.insert(message.clone())),
            }
        }
        for field in message.fields() {
            match field.kind() {
                Kind::Message(inner) => self.add(&inner),
                Kind::Enum(it) if it.package_name() != "google.protobuf" => {
                    self.enums.insert(it.full_name().to_owned(), it);
                }
                _ => {}
            }
        }
    }
}

fn service_text(
    service: &ServiceDescriptor,
    methods: impl Iterator<Item = MethodDescriptor>,
) -> String {
    let stream = |is: bool| if is { "stream " } else { "" };
    let lines = methods.map(|method| {
        format!(
            "  rpc {}({}{}) returns ({}{});\n",
            method.name(),
            stream(method.is_client_streaming()),
            method.input().full_name(),
            stream(method.is_server_streaming()),
            method.output().full_name(),
        )
    });
    format!(
        "service {} {{\n{}}}",
        service.full_name(),
        lines.collect::<String>()
    )
}

fn message_text(message: &MessageDescriptor) -> String {
    let lines = message.fields().map(|field| {
        let label = label(&field);
        let oneof = field
            .containing_oneof()
            .filter(|oneof| !oneof.is_synthetic())
            .map(|oneof| format!("  // oneof {}", oneof.name()))
            .unwrap_or_default();
        let (name, number) = (field.name(), field.number());
        format!("  {label}{} {name} = {number};{oneof}\n", type_name(&field))
    });
    format!(
        "message {} {{\n{}}}",
        message.full_name(),
        lines.collect::<String>()
    )
}

fn enum_text(it: &EnumDescriptor) -> String {
    let lines = it
        .values()
        .map(|value| format!("  {} = {};\n", value.name(), value.number()));
    format!(
        "enum {} {{\n{}}}",
        it.full_name(),
        lines.collect::<String>()
    )
}

fn label(field: &FieldDescriptor) -> &'static str {
    let alone = field
        .containing_oneof()
        .is_none_or(|oneof| oneof.is_synthetic());
    match field.cardinality() {
        Cardinality::Required => "required ",
        Cardinality::Repeated if field.is_map() => "",
        Cardinality::Repeated => "repeated ",
        Cardinality::Optional
            if alone && field.supports_presence() && field.kind().as_message().is_none() =>
        {
            "optional "
        }
        Cardinality::Optional => "",
    }
}

fn type_name(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => format!(
            "map<{}, {}>",
            type_name(&entry.map_entry_key_field()),
            type_name(&entry.map_entry_value_field())
        ),
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(it) => it.full_name().to_owned(),
        // The scalars' names in Rust are those of proto files, in capitals.
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

fn method_value(method: &MethodDescriptor) -> Value {
    json!({
        "service": method.parent_service().full_name(),
        "name": method.name(),
        "input": method.input().full_name(),
        "output": method.output().full_name(),
        "client_streaming": method.is_client_streaming(),
        "server_streaming": method.is_server_streaming(),
    })
}

fn message_value(message: &MessageDescriptor) -> Value {
    let fields = message.fields().map(|field| {
        json!({
            "name": field.name(),
            "number": field.number(),
            "type": type_name(&field),
            "repeated": field.is_list(),
        })
    });
    json!({ "name": message.full_name(), "fields": fields.collect::<Vec<_>>() })
}

fn enum_value(it: &EnumDescriptor) -> Value {
    let values = it
        .values()
        .map(|value| (value.name().to_owned(), value.number().into()));
    json!({ "name": it.full_name(), "values": values.collect::<serde_json::Map<_, Value>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_reflect::DescriptorPool;

    #[test]
    fn a_method_is_told_with_its_messages() {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
        let service = pool
            .get_service_by_name("agentplatform.AgentService")
            .unwrap();
        let method = service
            .methods()
            .find(|method| method.name() == "StreamTask")
            .unwrap();
        let text = Symbol::Method(method).text();
        assert!(text.starts_with(
            "service agentplatform.AgentService {\n  rpc StreamTask(agentplatform.TaskRequest) \
             returns (stream agentplatform.TaskChunk);\n}\n\nmessage "
        ));
        assert!(
            text.contains("  map<string, string> parameters = 4;\n"),
            "{text}"
        );
        assert!(text.contains("  repeated string tool_ids = 5;\n"), "{text}");
        assert!(text.contains("  bool is_final = 3;\n"), "{text}");
    }

    #[test]
    fn messages_within_messages_are_told_too() {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
        let message = pool.get_message_by_name("agentplatform.ToolInfo").unwrap();
        let symbol = Symbol::Message(message);
        assert!(
            symbol
                .text()
                .contains("message agentplatform.ToolParameter {")
        );
        assert_eq!(symbol.value()["messages"].as_array().unwrap().len(), 3);
    }
}
