//! Random messages of the proto with every kind of field: each fits the schema of the output, and is
//! taken as input again. By the `jsonschema` of Rust, and by that of PyPI.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use jsonschema::draft202012;
use mesh_mcp::{
    JsonText,
    schema::{
        SchemaOptions, input_schema, method_input_schema, method_output_schema, output_schema,
    },
    validate::{ArgumentRules, message},
};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value as Json, json};

/// Random messages of each type.
const MESSAGES: u64 = 300;

fn pool() -> DescriptorPool {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protos");
    let mut compiler = protox::Compiler::new([folder]).unwrap();
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file("kinds.proto").unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

fn random_message(
    descriptor: &MessageDescriptor,
    depth: usize,
    rng: &mut StdRng,
) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    if descriptor.full_name() == "google.protobuf.Any" {
        fill_any(&mut message, depth, rng);
        return message;
    }
    for field in descriptor.fields() {
        let is_message = matches!(field.kind(), Kind::Message(_));
        if rng.random_bool(0.4) && (!is_message || depth > 0) {
            let value = random_field(&field, depth, rng);
            message.set_field(&field, value);
        }
    }
    message
}

/// One of a known type, one of an unknown type, and one whose bytes are of no type.
fn fill_any(message: &mut DynamicMessage, depth: usize, rng: &mut StdRng) {
    let pool = message.clone();
    let pool = prost_reflect::ReflectMessage::descriptor(&pool)
        .parent_pool()
        .clone();
    let small = pool.get_message_by_name("kinds.Small").unwrap();
    let inner = random_message(&small, depth.saturating_sub(1), rng).encode_to_vec();
    let (url, value) = match rng.random_range(0..4) {
        0 => ("type.googleapis.com/kinds.Small", inner),
        1 => ("type.googleapis.com/google.protobuf.Duration", vec![8, 1]),
        2 => ("type.googleapis.com/no.Such", inner),
        _ => ("type.googleapis.com/kinds.Small", vec![0xff]),
    };
    message.set_field_by_name("type_url", Value::String(url.to_owned()));
    message.set_field_by_name("value", Value::Bytes(value.into()));
}

fn random_field(field: &FieldDescriptor, depth: usize, rng: &mut StdRng) -> Value {
    let kind = field.kind();
    if field.is_map() {
        let entry = kind.as_message().unwrap();
        let (keys, values) = (
            entry.map_entry_key_field().kind(),
            entry.map_entry_value_field().kind(),
        );
        let pairs = (0..rng.random_range(0..4)).map(|_| {
            let key = random_value(&keys, 0, rng);
            (
                key.into_map_key().unwrap(),
                random_value(&values, depth, rng),
            )
        });
        return Value::Map(pairs.collect::<HashMap<MapKey, Value>>());
    }
    if field.is_list() {
        let count = rng.random_range(0..4);
        return Value::List(
            (0..count)
                .map(|_| random_value(&kind, depth, rng))
                .collect(),
        );
    }
    random_value(&kind, depth, rng)
}

fn random_value(kind: &Kind, depth: usize, rng: &mut StdRng) -> Value {
    let float = [
        0.0,
        -0.0,
        1.5,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    let long = [0, 1, -1, i64::MIN, i64::MAX, 253_402_300_800];
    let mut of = |count: usize| rng.random_range(0..count);
    match kind {
        Kind::Double => Value::F64(float[of(8)]),
        Kind::Float => Value::F32(float[of(8)] as f32),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            Value::I32([0, 7, i32::MIN, i32::MAX][of(4)])
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(long[of(6)]),
        Kind::Uint32 | Kind::Fixed32 => Value::U32([0, u32::MAX][of(2)]),
        Kind::Uint64 | Kind::Fixed64 => Value::U64([0, u64::MAX][of(2)]),
        Kind::Bool => Value::Bool(of(2) == 0),
        Kind::String => {
            Value::String(["", "text", "a_b.c_d", "\u{0}\"\\\n\u{2028}é😀"][of(4)].to_owned())
        }
        Kind::Bytes => Value::Bytes([&b""[..], b"\x00\xff\xfe", b"ab"][of(3)].into()),
        Kind::Enum(descriptor) => {
            let known: Vec<i32> = descriptor.values().map(|value| value.number()).collect();
            match of(4) {
                0 => Value::EnumNumber([99, -7, i32::MIN][of(3)]),
                _ => Value::EnumNumber(known[of(known.len())]),
            }
        }
        Kind::Message(message) => {
            Value::Message(random_message(message, depth.saturating_sub(1), rng))
        }
    }
}

/// Schemas by name, and JSON for them.
fn cases() -> Vec<(String, Json, Vec<Json>)> {
    let pool = pool();
    let options = SchemaOptions::default();
    let mut cases = Vec::new();
    let names = [
        "kinds.Everything",
        "kinds.Demands",
        "kinds.Tree",
        "kinds.Level1",
        "old.Old",
    ];
    let known = [
        "Struct",
        "Value",
        "ListValue",
        "Any",
        "Timestamp",
        "Duration",
        "FieldMask",
    ];
    let known = known.map(|name| format!("google.protobuf.{name}"));
    for name in names.map(str::to_owned).into_iter().chain(known) {
        let descriptor = pool.get_message_by_name(&name).unwrap();
        let schema = output_schema(&descriptor, &options);
        let written = (0..MESSAGES).map(|seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let message = random_message(&descriptor, 6, &mut rng);
            let text = JsonText::of_message(&message, usize::MAX).unwrap();
            serde_json::from_str(text.get()).unwrap_or_else(|error| panic!("{error}: {text:?}"))
        });
        cases.push((name, schema, written.collect()));
    }
    cases
}

#[test]
fn every_result_fits_its_own_schema() {
    for (name, schema, written) in cases() {
        draft202012::meta::validate(&schema).unwrap();
        let validator = draft202012::new(&schema).unwrap();
        for json in written {
            let error = validator
                .validate(&json)
                .err()
                .map(|error| error.to_string());
            assert_eq!(error, None, "{name}: {json}");
        }
    }
}

#[test]
fn what_the_schema_of_the_input_allows_is_taken() {
    let pool = pool();
    for name in ["kinds.Everything", "kinds.Tree", "old.Old"] {
        let descriptor = pool.get_message_by_name(name).unwrap();
        let (rules, options) = (ArgumentRules::of(&descriptor), SchemaOptions::default());
        let validator = draft202012::new(&input_schema(&descriptor, &options)).unwrap();
        let mut taken = 0;
        for seed in 0..MESSAGES {
            let mut rng = StdRng::seed_from_u64(seed);
            let sent = random_message(&descriptor, 5, &mut rng);
            let text = JsonText::of_message(&sent, usize::MAX).unwrap();
            let json: Json = serde_json::from_str(text.get()).unwrap();
            let read = message(&descriptor, json.clone(), &rules);
            if validator.is_valid(&json) && !is_unreadable(text.get()) {
                let read = read.unwrap_or_else(|error| panic!("{error}: {json}"));
                let again = JsonText::of_message(&read, usize::MAX).unwrap();
                assert_eq!(again.get(), text.get());
                taken += 1;
            }
        }
        assert!(taken > 5, "{name}: {taken}");
    }
}

/// What no schema can say: times out of their range, and messages of types that nobody knows.
fn is_unreadable(text: &str) -> bool {
    let out_of_range = [
        "9223372036",
        "253402300800",
        "292277026596",
        "-292277022657",
        "+",
        "10000-",
    ];
    text.contains("no.Such")
        || text.contains("\"@type\"")
        || out_of_range.iter().any(|part| text.contains(part))
}

/// Draft202012Validator is the reference: what it says of the same schemas and results.
#[test]
fn the_schemas_are_valid_and_true_to_pythons_jsonschema() {
    let mut lines = String::new();
    for (name, schema, written) in cases() {
        let case = json!({"name": name, "schema": schema, "instances": written});
        writeln!(lines, "{case}").unwrap();
    }
    let pool = pool();
    for method in pool.get_service_by_name("kinds.Kinds").unwrap().methods() {
        let options = SchemaOptions::default();
        for schema in [
            method_input_schema(&method, &options),
            method_output_schema(&method, &options),
        ] {
            let case = json!({"name": method.full_name(), "schema": schema, "instances": []});
            writeln!(lines, "{case}").unwrap();
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/calls/schemas.py");
    let mut python = Command::new(testkit::tools::python());
    python
        .args(["-B", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = python.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("3600 instances"), "{said}");
}
