//! What MCP reads: messages of JSON-RPC, arguments of tools, answers of services, descriptors.

use std::sync::OnceLock;

use ::mcp::{
    JsonText,
    rpc::{self, Body, Message},
    schema::{
        SchemaOptions, input_schema, method_input_schema, method_output_schema, output_schema,
    },
    validate::{ArgumentRules, message},
};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;

/// Files of descriptors that one input may bring: each costs a schema for each of its messages.
const MESSAGES: usize = 20;

/// The proto with every kind of field.
fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../mcp/tests/protos");
        let mut compiler = protox::Compiler::new([folder]).expect("a folder of ours");
        compiler.include_imports(true);
        compiler.open_file("kinds.proto").expect("a file of ours");
        DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice())
            .expect("it is whole")
    })
}

fn descriptor(name: &str) -> MessageDescriptor {
    pool().get_message_by_name(name).expect("it is there")
}

/// The message that the first byte chooses, and the rest.
fn chosen(data: &[u8]) -> Option<(MessageDescriptor, &[u8])> {
    let (first, rest) = data.split_first()?;
    let names = ["kinds.Everything", "kinds.Demands", "kinds.Tree", "old.Old"];
    Some((descriptor(names[usize::from(first % 4)]), rest))
}

pub(crate) fn argument_seeds() -> Vec<Vec<u8>> {
    let everything = include_bytes!("../../mcp/tests/protos/everything.json");
    let demands = br#"{"name":"a","small":{},"code":"AB","count":1,"large":5,"tags":["a"],"sizes":{"a":1},"color":1,"size":"S","part":0.5,"file":"f"}"#;
    let tree = br#"{"name":"x","children":[{"children":[]}]}"#;
    let old = br#"{"name":"x","grade":"BAD","numbers":["1"],"part":{"label":"y"}}"#;
    let all: [&[u8]; 4] = [everything, demands, tree, old];
    (0u8..)
        .zip(all)
        .map(|(first, json)| [&[first], json].concat())
        .collect()
}

/// Arguments that are taken are a message, whose JSON is taken again as the same message.
pub(crate) fn arguments(data: &[u8]) {
    let Some((descriptor, json)) = chosen(data) else {
        return;
    };
    let Ok(json) = serde_json::from_slice::<Value>(json) else {
        return;
    };
    let rules = ArgumentRules::of(&descriptor);
    let Ok(read) = message(&descriptor, json, &rules) else {
        return;
    };
    let text = JsonText::of_message(&read, usize::MAX).expect("it has room");
    let json: Value = serde_json::from_str(text.get()).expect("what we write is JSON");
    if let Ok(again) = message(&descriptor, json, &rules) {
        let again = JsonText::of_message(&again, usize::MAX).expect("it has room");
        assert_eq!(again.get(), text.get());
    }
}

pub(crate) fn result_seeds() -> Vec<Vec<u8>> {
    use prost::Message as _;
    let rules = ArgumentRules::default();
    let seeds = argument_seeds().into_iter().filter_map(|seed| {
        let (descriptor, json) = chosen(&seed)?;
        let json = serde_json::from_slice(json).ok()?;
        let read = message(&descriptor, json, &rules).ok()?;
        Some([&seed[..1], &read.encode_to_vec()].concat())
    });
    seeds.collect()
}

/// Whatever a service answers becomes JSON, within its limit.
pub(crate) fn result(data: &[u8]) {
    let Some((descriptor, bytes)) = chosen(data) else {
        return;
    };
    let Ok(read) = DynamicMessage::decode(descriptor, bytes) else {
        return;
    };
    let text = JsonText::of_message(&read, usize::MAX).expect("it has room");
    assert!(
        serde_json::from_str::<Value>(text.get()).is_ok(),
        "{text:?}"
    );
    if let Some(small) = JsonText::of_message(&read, 64) {
        assert_eq!(small, text);
        assert!(small.get().len() <= 64);
    }
}

pub(crate) fn descriptor_seeds() -> Vec<Vec<u8>> {
    let files = ["kinds.proto", "old.proto"]
        .map(|name| pool().get_file_by_name(name).expect("it is there"));
    files.iter().map(|file| file.encode_to_vec()).collect()
}

/// Descriptors may say anything: their schemas stay within their size.
pub(crate) fn schemas(data: &[u8]) {
    let files = dynamic::FilePool::new(&[data.to_vec().into()]);
    let options = SchemaOptions {
        max_bytes: 2_000,
        ..SchemaOptions::default()
    };
    let check = |schema: Value| assert!(schema.to_string().len() <= 2_000, "{schema}");
    let all = files.pool.all_messages();
    let own = all.filter(|it| !it.full_name().starts_with("google.protobuf."));
    for message in own.take(MESSAGES) {
        check(input_schema(&message, &options));
        check(output_schema(&message, &options));
        std::hint::black_box(ArgumentRules::of(&message));
    }
    for method in files
        .pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
    {
        check(method_input_schema(&method, &options));
        check(method_output_schema(&method, &options));
    }
}

pub(crate) fn message_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"b":[1]},"_meta":{"progressToken":"x","mesh.v1/timeoutMs":5}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"7"}}"#,
        r#"{"jsonrpc":"2.0","id":"a","result":{"content":[]}}"#,
        r#"[{"jsonrpc":"2.0","id":1.5,"error":{"code":-1,"message":"x"}},{}]"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A message is refused with a number of JSON-RPC, or all of its parts can be asked for.
pub(crate) fn messages(data: &[u8]) {
    let all = match rpc::parse(data) {
        Ok(Body::One(one)) => vec![Ok(one)],
        Ok(Body::Batch(many)) => many,
        Err(error) => vec![Err(error)],
    };
    for one in all {
        match one {
            Ok(Message::Request(request)) => {
                std::hint::black_box(rpc::id_key(request.id));
                if let Ok(params) = rpc::Params::read(request.params) {
                    let meta = params.meta();
                    std::hint::black_box(meta.is_ok_and(|meta| meta.timeout().is_some()));
                    std::hint::black_box((params.arguments().is_ok(), params.name().is_ok()));
                    std::hint::black_box((params.cursor().is_ok(), params.task_id().is_ok()));
                }
            }
            Ok(Message::Notification(_) | Message::Response(_)) => {}
            Err(error) => assert!((-32_768..=-32_000).contains(&error.code), "{error:?}"),
        }
    }
}
