//! Describes `google.rpc.ErrorInfo`, which the mesh's own statuses carry, so that `grpcurl` prints
//! their reason and facts instead of bytes.

use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, MessageOptions,
    field_descriptor_proto::{Label, Type},
};

/// The file that defines it, with nothing else in it.
pub(super) fn file() -> FileDescriptorProto {
    let string = |name: &str, number| field(name, number, Type::String, Label::Optional);
    let entry = DescriptorProto {
        name: Some("MetadataEntry".to_owned()),
        field: vec![string("key", 1), string("value", 2)],
        options: Some(MessageOptions {
            map_entry: Some(true),
            ..MessageOptions::default()
        }),
        ..DescriptorProto::default()
    };
    let metadata = FieldDescriptorProto {
        type_name: Some(".google.rpc.ErrorInfo.MetadataEntry".to_owned()),
        ..field("metadata", 3, Type::Message, Label::Repeated)
    };
    let message = DescriptorProto {
        name: Some("ErrorInfo".to_owned()),
        field: vec![string("reason", 1), string("domain", 2), metadata],
        nested_type: vec![entry],
        ..DescriptorProto::default()
    };
    FileDescriptorProto {
        name: Some("google/rpc/error_details.proto".to_owned()),
        package: Some("google.rpc".to_owned()),
        message_type: vec![message],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    }
}

fn field(name: &str, number: i32, kind: Type, label: Label) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        json_name: Some(name.to_owned()),
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    }
}
