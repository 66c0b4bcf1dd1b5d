use prost::Message as _;
use prost_reflect::{DescriptorPool, Value as Field};
use prost_types::{
    Any, DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto,
    field_descriptor_proto::{Label, Type},
};
use serde_json::json;

use super::*;

const ALL: [(&str, i32, Type, &str); 9] = [
    ("text", 1, Type::String, ""),
    ("any", 2, Type::Message, ".google.protobuf.Any"),
    ("at", 3, Type::Message, ".google.protobuf.Timestamp"),
    ("value", 4, Type::Message, ".google.protobuf.Value"),
    ("ratio", 5, Type::Double, ""),
    ("color", 6, Type::Enum, ".t.Color"),
    ("next", 7, Type::Message, ".t.Answer"),
    ("mask", 8, Type::Message, ".google.protobuf.FieldMask"),
    ("share", 9, Type::Message, ".google.protobuf.DoubleValue"),
];

/// `t.Answer`, with what JSON has trouble with.
fn answer() -> MessageDescriptor {
    let fields = ALL.map(|(name, number, kind, type_name)| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        type_name: Some(type_name.to_owned()).filter(|name| !name.is_empty()),
        ..FieldDescriptorProto::default()
    });
    let color = EnumDescriptorProto {
        name: Some("Color".to_owned()),
        value: vec![EnumValueDescriptorProto {
            name: Some("NONE".to_owned()),
            number: Some(0),
            ..EnumValueDescriptorProto::default()
        }],
        ..EnumDescriptorProto::default()
    };
    let dependency = ["any", "timestamp", "struct", "field_mask", "wrappers"];
    let file = FileDescriptorProto {
        name: Some("t.proto".to_owned()),
        package: Some("t".to_owned()),
        syntax: Some("proto3".to_owned()),
        dependency: dependency
            .map(|name| format!("google/protobuf/{name}.proto"))
            .to_vec(),
        message_type: vec![DescriptorProto {
            name: Some("Answer".to_owned()),
            field: fields.to_vec(),
            ..DescriptorProto::default()
        }],
        enum_type: vec![color],
        ..FileDescriptorProto::default()
    };
    let mut pool = DescriptorPool::global();
    pool.add_file_descriptor_proto(file).unwrap();
    pool.get_message_by_name("t.Answer").unwrap()
}

fn any(url: &str, value: &[u8]) -> Vec<u8> {
    let any = Any {
        type_url: url.to_owned(),
        value: value.to_vec(),
    };
    any.encode_to_vec()
}

/// A message with one field set to what these bytes decode to.
fn with(name: &str, bytes: &[u8]) -> DynamicMessage {
    let descriptor = answer();
    let field = descriptor.get_field_by_name(name).unwrap();
    let prost_reflect::Kind::Message(kind) = field.kind() else {
        panic!("{name} is no message");
    };
    let mut message = DynamicMessage::new(descriptor);
    let value = DynamicMessage::decode(kind, bytes).unwrap();
    message.set_field(&field, Field::Message(value));
    message.set_field_by_name("text", Field::String("said".to_owned()));
    message
}

#[test]
fn an_any_that_nobody_knows_is_its_type_and_its_bytes() {
    let url = "type.googleapis.com/nobody.Knows";
    let json = to_json(&with("any", &any(url, &[8, 1])));
    assert_eq!(json["any"], json!({"@type": url, "value": "CAE="}));
    assert_eq!(
        (&json["text"], &json["ratio"]),
        (&json!("said"), &json!(0.0))
    );
    let broken = to_json(&with("any", &any("type.googleapis.com/t.Answer", &[0xff])));
    assert_eq!(broken["any"]["value"], "/w==");
    assert_eq!(to_json(&with("any", &[]))["any"], json!({}));
    assert_eq!(
        to_json(&with("any", &any("", &[1])))["any"]["value"],
        "AQ=="
    );
    let text = to_text(&with("any", &any(url, &[8, 1])), false);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json);
}

#[test]
fn an_unknown_any_within_a_known_one_leaves_that_readable() {
    let unknown = with("any", &any("x/nobody.Knows", &[8, 1]));
    let json = to_json(&with("any", &any("x/t.Answer", &unknown.encode_to_vec())));
    assert_eq!(json["any"]["@type"], "x/t.Answer");
    assert_eq!(json["any"]["text"], "said");
    assert_eq!(
        json["any"]["any"],
        json!({"@type": "x/nobody.Knows", "value": "CAE="})
    );
    let time = prost_types::Timestamp {
        seconds: 0,
        nanos: 0,
    };
    let known = any("x/google.protobuf.Timestamp", &time.encode_to_vec());
    assert_eq!(
        to_json(&with("any", &known))["any"]["value"],
        "1970-01-01T00:00:00Z"
    );
}

#[test]
fn values_without_a_form_have_one_all_the_same() {
    let late = prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: -1,
    };
    let json = to_json(&with("at", &late.encode_to_vec()));
    assert_eq!(
        json["at"],
        json!({"seconds": i64::MAX.to_string(), "nanos": -1})
    );

    let number = |number| prost_types::Value {
        kind: Some(prost_types::value::Kind::NumberValue(number)),
    };
    let list = prost_types::Value {
        kind: Some(prost_types::value::Kind::ListValue(
            prost_types::ListValue {
                values: vec![number(1.5), number(f64::NAN), number(f64::NEG_INFINITY)],
            },
        )),
    };
    let fields = [("a".to_owned(), list)].into();
    let all = prost_types::Value {
        kind: Some(prost_types::value::Kind::StructValue(prost_types::Struct {
            fields,
        })),
    };
    let json = to_json(&with("value", &all.encode_to_vec()));
    assert_eq!(json["value"], json!({"a": [1.5, "NaN", "-Infinity"]}));

    let mask = prost_types::FieldMask {
        paths: vec!["A_b".to_owned()],
    };
    assert_eq!(
        to_json(&with("mask", &mask.encode_to_vec()))["mask"]["paths"],
        json!(["A_b"])
    );

    for (number, expected) in [(f64::NAN, json!("NaN")), (0.5, json!(0.5))] {
        let json = to_json(&with("share", &number.encode_to_vec()));
        assert_eq!(json["share"], expected);
    }

    let mut message = with("any", &any("x/nobody.Knows", &[]));
    message.set_field_by_name("ratio", Field::F64(f64::NAN));
    message.set_field_by_name("color", Field::EnumNumber(7));
    let json = to_json(&message);
    assert_eq!((&json["ratio"], &json["color"]), (&json!("NaN"), &json!(7)));
}

#[test]
fn bytes_that_are_not_the_message_are_told_as_bytes() {
    // Field 1 is a text, and this is no UTF-8.
    let bytes = Bytes::from_static(&[10, 1, 0xff]);
    let received = ReceivedMessage::decode(answer(), bytes);
    let json = received.to_json();
    assert_eq!(
        json,
        json!({"@type": "type.googleapis.com/t.Answer", "value": "CgH/"})
    );
    assert_eq!(received.to_text(false), json.to_string());
    assert!(received.message().is_err());
    // Groups and fields that nobody described are passed over.
    let bytes = Bytes::from_static(&[10, 2, b'h', b'i', 0x9b, 6, 8, 1, 0x9c, 6, 0xa0, 6, 1]);
    assert_eq!(
        ReceivedMessage::decode(answer(), bytes).to_json()["text"],
        "hi"
    );
}

#[test]
fn an_any_within_an_any_without_end_is_told_as_bytes_from_some_depth_on() {
    let mut bytes = any("x/nobody.Knows", &[]);
    for _ in 0..20_000 {
        bytes = any("x/google.protobuf.Any", &bytes);
    }
    let message = with("any", &bytes);
    let mut json = &to_json(&message)["any"];
    let mut depth = 0;
    while json["value"].is_object() {
        json = &json["value"];
        depth += 1;
    }
    assert!(depth > 3 && json["value"].is_string(), "{depth}");
    assert!(to_text(&message, true).contains("@type"));
}

#[test]
fn json_that_does_not_fit_is_refused_in_plain_words() {
    for (value, said) in [
        (json!({"text": 5}), "has to be a string, not the number 5"),
        (json!({"text": ["a"]}), "has to be a string, not an array"),
        (json!({"ratio": {}}), "has to be a number, not an object"),
        (
            json!({"color": true}),
            "has to be a string or a whole number, not true",
        ),
        (
            json!({"next": "x"}),
            "has to be an object, not the string \"x\"",
        ),
        (json!({"at": 5}), "has to be a time such as"),
        (json!("x"), "has to be an object, not the string \"x\""),
        (json!(null), "has to be an object, not null"),
    ] {
        let status = from_json(&answer(), value.clone()).unwrap_err();
        let text = status.message();
        assert!(
            text.starts_with("the JSON is no t.Answer: ") && text.contains(said),
            "{value}: {text}"
        );
        for word in ["invalid type", "invalid value", "64-bit", "expected"] {
            assert!(!text.contains(word), "{value}: {text}");
        }
    }
}
