//! Messages of MCP's clients.

use mcp::rpc::{Body, Message, Params, RpcError, error_bytes, parse, parse_one, response_bytes};
use serde_json::value::RawValue;

/// A body is one message, a batch, or an error with a code; nothing else happens.
pub(crate) fn run(bytes: &[u8]) {
    match parse(bytes) {
        Ok(Body::One(message)) => check(&message),
        Ok(Body::Batch(messages)) => {
            assert!(!messages.is_empty());
            for message in messages {
                match message {
                    Ok(message) => check(&message),
                    Err(error) => told(&error),
                }
            }
        }
        Err(error) => told(&error),
    }
}

fn check(message: &Message<'_>) {
    let params = match message {
        Message::Request(request) => {
            let answer = response_bytes(request.id, b"{}");
            match parse_one(&answer) {
                Ok(Message::Response(answer)) => assert_eq!(answer.id.get(), request.id.get()),
                other => panic!("an answer is read as {other:?}"),
            }
            request.params
        }
        Message::Notification(notification) => notification.params,
        Message::Response(_) => return,
    };
    match Params::read(params) {
        Ok(params) => {
            if let Err(error) = params.meta() {
                told(&error);
            }
            drop((params.name(), params.arguments(), params.cursor()));
        }
        Err(error) => told(&error),
    }
}

fn told(error: &RpcError) {
    assert!(error.code <= -32000 && !error.message.is_empty());
    let answer = error_bytes(None, error);
    let answer: Result<&RawValue, _> = serde_json::from_slice(&answer);
    assert!(answer.is_ok(), "an error is JSON");
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"b":[1,"c"]},"_meta":{"progressToken":"d","mesh.v1/timeoutMs":5}}}"#,
        r#"[{"jsonrpc":"2.0","id":"x\u0041","method":"ping"},{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1.5}},7]"#,
        r#"{"jsonrpc":"2.0","id":-1e3,"error":{"code":-32601,"message":""}}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
