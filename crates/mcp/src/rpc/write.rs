//! Messages as bytes. What is inside may be serialized already, so that it is not again.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::RpcError;

const HEAD: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":";

/// An answer with a result that is JSON.
#[must_use]
pub fn response_bytes(id: &RawValue, result: &[u8]) -> Bytes {
    let id = id.get().as_bytes();
    let mut text = Vec::with_capacity(HEAD.len() + id.len() + result.len() + 12);
    text.extend_from_slice(HEAD);
    text.extend_from_slice(id);
    text.extend_from_slice(b",\"result\":");
    text.extend_from_slice(result);
    text.push(b'}');
    text.into()
}

/// An answer with an error. Without `id` it is `null`: the request's could not be read.
#[must_use]
pub fn error_bytes(id: Option<&RawValue>, error: &RpcError) -> Bytes {
    #[derive(Serialize)]
    struct Error<'a> {
        code: i32,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: &'a Option<serde_json::Value>,
    }
    let of_error = error.id.as_ref().map(|id| id.get());
    let id = id.map(RawValue::get).or(of_error).unwrap_or("null");
    let mut text = Vec::with_capacity(160);
    text.extend_from_slice(HEAD);
    text.extend_from_slice(id.as_bytes());
    text.extend_from_slice(b",\"error\":");
    let error = Error {
        code: error.code,
        message: &error.message,
        data: &error.data,
    };
    append(&mut text, &error);
    text.push(b'}');
    text.into()
}

/// A notification.
#[must_use]
pub fn notification_bytes(method: &str, params: &impl Serialize) -> Bytes {
    let mut text = Vec::with_capacity(160);
    text.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":");
    append(&mut text, method);
    text.extend_from_slice(b",\"params\":");
    append(&mut text, params);
    text.push(b'}');
    text.into()
}

/// A request of ours.
#[must_use]
pub fn request_bytes(id: &str, method: &str, params: &impl Serialize) -> Bytes {
    let mut text = Vec::with_capacity(200);
    text.extend_from_slice(HEAD);
    append(&mut text, id);
    text.extend_from_slice(b",\"method\":");
    append(&mut text, method);
    text.extend_from_slice(b",\"params\":");
    append(&mut text, params);
    text.push(b'}');
    text.into()
}

/// A value that cannot be serialized becomes `null`: all our own types can be.
fn append(text: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let before = text.len();
    if serde_json::to_writer(&mut *text, value).is_err() {
        text.truncate(before);
        text.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rpc::code::INVALID_PARAMS;

    #[test]
    fn messages_are_one_line_of_json() {
        let id = RawValue::from_string("1.50".to_owned()).unwrap();
        let text = response_bytes(&id, b"{}");
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":1.50,"result":{}}"#);
        let error = RpcError::new(INVALID_PARAMS, "a \"b\"").with_data(json!({"uri": "x"}));
        let text = error_bytes(None, &error);
        let expected = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"a \"b\"","data":{"uri":"x"}}}"#;
        assert_eq!(text, expected);
        let text = notification_bytes("notifications/x", &json!({}));
        assert_eq!(
            text,
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":{}}"#
        );
        let text = request_bytes("m-1", "ping", &json!({}));
        assert_eq!(
            text,
            r#"{"jsonrpc":"2.0","id":"m-1","method":"ping","params":{}}"#
        );
    }
}
