//! JSON-RPC 2.0 as the Model Context Protocol uses it: messages that borrow from the bytes they came
//! in, and answers that are written around results which may be serialized already.
//!
//! A message is parsed once. What is inside `params` stays raw until its method reads it.

pub mod code;
mod params;
mod version;
mod write;

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};

pub use params::{Meta, Params};
pub use version::{Era, Version};
pub use write::{error_bytes, notification_bytes, request_bytes, response_bytes};

/// Messages in one batch, at most.
const MAX_BATCH: usize = 100;
/// The longest message of an error of ours, bytes.
const MAX_MESSAGE: usize = 1000;
/// Levels of arrays and objects within one message, at most.
pub const MAX_NESTING: usize = 64;

/// A message from the other side.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    /// It is to be answered.
    Request(Request<'a>),
    /// It is not.
    Notification(Notification<'a>),
    /// It answers a request of ours.
    Response(Response<'a>),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Its id as it came: a string or a number of any kind.
    pub id: &'a RawValue,
    /// Its method.
    pub method: Cow<'a, str>,
    /// Its parameters, an object.
    pub params: Option<&'a RawValue>,
}

/// A notification.
#[derive(Clone, Debug)]
pub struct Notification<'a> {
    /// Its method.
    pub method: Cow<'a, str>,
    /// Its parameters, an object.
    pub params: Option<&'a RawValue>,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The request's id.
    pub id: &'a RawValue,
    /// The result, or the error object.
    pub outcome: Result<&'a RawValue, &'a RawValue>,
}

/// What a body holds.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// One message.
    One(Message<'a>),
    /// A batch, which only some revisions have. Each message may be malformed for itself.
    Batch(Vec<Result<Message<'a>, RpcError>>),
}

/// Why a message is not answered with a result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// One of the codes of this module.
    pub code: i32,
    /// What is wrong, and what to do.
    pub message: String,
    /// Details for programs.
    pub data: Option<Value>,
    /// The id of the request at fault, where it could be read.
    pub id: Option<Box<RawValueText>>,
}

/// The text of a raw value, comparable.
#[derive(Clone, PartialEq, Eq)]
pub struct RawValueText(Box<str>);

impl RawValueText {
    /// The JSON.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RawValueText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<crate::CallError> for RpcError {
    fn from(error: crate::CallError) -> Self {
        Self {
            code: error.code,
            message: error.message,
            data: error.data,
            id: None,
        }
    }
}

impl RpcError {
    /// An error without details. A message that repeats too much of a request is cut.
    #[must_use]
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        let mut message = message.into();
        let kept = crate::status::cut(&message, MAX_MESSAGE).len();
        if kept < message.len() {
            message.truncate(kept);
            message.push('…');
        }
        Self {
            code,
            message,
            data: None,
            id: None,
        }
    }

    /// An error with details.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// The parameters do not fit the method.
    #[must_use]
    pub fn params(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_PARAMS, message)
    }

    /// There is no such method.
    #[must_use]
    pub fn method(method: &str) -> Self {
        let method: String = method.chars().take(100).collect();
        Self::new(
            code::METHOD_NOT_FOUND,
            format!("method not found: {method}"),
        )
    }

    /// The revision is not served.
    #[must_use]
    pub fn version(requested: &str) -> Self {
        let requested: String = requested.chars().take(100).collect();
        let supported: Vec<&str> = Version::ALL.iter().map(|it| it.as_str()).collect();
        let text = format!("the protocol version {requested:?} is not supported");
        Self::new(code::UNSUPPORTED_VERSION, text)
            .with_data(serde_json::json!({ "supported": supported, "requested": requested }))
    }

    /// A fault of ours.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(code::INTERNAL_ERROR, message)
    }

    fn of(mut self, id: Option<&RawValue>) -> Self {
        let id = id.filter(|id| is_id(id));
        self.id = id.map(|id| Box::new(RawValueText(id.get().into())));
        self
    }
}

/// Reads a body.
///
/// # Errors
/// [`code::PARSE_ERROR`] for what is no JSON, [`code::INVALID_REQUEST`] for JSON that is no message or nests
/// deeper than [`MAX_NESTING`].
pub fn parse(bytes: &[u8]) -> Result<Body<'_>, RpcError> {
    if nesting(bytes) > MAX_NESTING {
        let text = format!("the message nests deeper than {MAX_NESTING} levels");
        return Err(RpcError::new(code::INVALID_REQUEST, text));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let text = format!("the body is not UTF-8 at byte {}", error.valid_up_to());
        RpcError::new(code::PARSE_ERROR, text)
    })?;
    if text.trim_start().starts_with('[') {
        return batch(text);
    }
    let parts: Parts<'_> = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    message(parts).map(Body::One)
}

/// Reads one message.
///
/// # Errors
/// As [`parse`].
pub fn parse_one(bytes: &[u8]) -> Result<Message<'_>, RpcError> {
    match parse(bytes)? {
        Body::One(message) => Ok(message),
        Body::Batch(_) => Err(no_batches()),
    }
}

/// A batch came where the revision has none.
#[must_use]
pub fn no_batches() -> RpcError {
    let text = "this revision has no batches: send one message at a time";
    RpcError::new(code::INVALID_REQUEST, text)
}

fn batch(text: &str) -> Result<Body<'_>, RpcError> {
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    if items.is_empty() {
        return Err(RpcError::new(code::INVALID_REQUEST, "the batch is empty"));
    }
    if items.len() > MAX_BATCH {
        let text = format!("the batch has more than {MAX_BATCH} messages");
        return Err(RpcError::new(code::INVALID_REQUEST, text));
    }
    let mut messages = Vec::with_capacity(items.len());
    for item in items {
        let parts: Result<Parts<'_>, _> = serde_json::from_str(item.get());
        messages.push(parts.map_err(|error| unreadable(&error)).and_then(message));
    }
    Ok(Body::Batch(messages))
}

/// The members of any message. Others are ignored, as JSON-RPC allows; a doubled one is an error.
#[derive(Clone, Copy, Deserialize)]
struct Parts<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// A member that is there, even where it is `null`.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

fn message(parts: Parts<'_>) -> Result<Message<'_>, RpcError> {
    let Parts {
        jsonrpc,
        id,
        method,
        params,
        result,
        error,
    } = parts;
    let invalid = |text: &str| Err(RpcError::new(code::INVALID_REQUEST, text).of(id));
    if jsonrpc.map(RawValue::get) != Some("\"2.0\"") {
        return invalid("jsonrpc must be \"2.0\"");
    }
    if id.is_some_and(|id| !is_id(id)) {
        return invalid("the id must be a string or a number");
    }
    if let Some(method) = method {
        let Some(method) = text(method) else {
            return invalid("the method must be a string");
        };
        if result.is_some() || error.is_some() {
            return invalid("a message has either a method, or a result or error");
        }
        if params.is_some_and(|params| !params.get().starts_with('{')) {
            return Err(RpcError::params("params must be an object").of(id));
        }
        return Ok(match id {
            Some(id) => Message::Request(Request { id, method, params }),
            None => Message::Notification(Notification { method, params }),
        });
    }
    let outcome = match (result, error) {
        (Some(result), None) => Ok(result),
        (None, Some(error)) => Err(error),
        _ => return invalid("the method is missing"),
    };
    match id {
        Some(id) => Ok(Message::Response(Response { id, outcome })),
        None => invalid("the id is missing"),
    }
}

fn is_id(id: &RawValue) -> bool {
    let first = id.get().as_bytes().first();
    first.is_some_and(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9'))
}

/// The text of a raw string, borrowed where it has no escapes.
#[must_use]
pub fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let quoted = raw.get();
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(quoted).ok().map(Cow::Owned)
}

/// An id as a key of a map: the same for every way to write one string.
#[must_use]
pub fn id_key(id: &RawValue) -> Box<str> {
    match text(id) {
        Some(text) => format!("\"{text}").into(),
        None => id.get().into(),
    }
}

fn unreadable(error: &serde_json::Error) -> RpcError {
    use serde_json::error::Category;
    match error.classify() {
        Category::Data => RpcError::new(code::INVALID_REQUEST, format!("no message: {error}")),
        Category::Io | Category::Syntax | Category::Eof => {
            RpcError::new(code::PARSE_ERROR, format!("no JSON: {error}"))
        }
    }
}

/// How deep arrays and objects nest. What is no JSON has a depth too.
fn nesting(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(body: &str) -> i32 {
        match parse(body.as_bytes()) {
            Err(error) => error.code,
            Ok(read) => panic!("{body}: {read:?}"),
        }
    }

    fn request(body: &str) -> (String, String) {
        match parse_one(body.as_bytes()).unwrap() {
            Message::Request(it) => (it.id.get().to_owned(), it.method.into_owned()),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn ids_of_every_kind_are_kept_as_they_came() {
        for id in [
            "1",
            "-7",
            "1.0",
            "1e3",
            "18446744073709551616",
            "\"\"",
            "\"a\\u0062\"",
        ] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            assert_eq!(request(&body), (id.to_owned(), "ping".to_owned()));
        }
        for id in ["null", "true", "[]", "{}"] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            assert_eq!(failure(&body), code::INVALID_REQUEST, "{id}");
        }
    }

    #[test]
    fn what_is_no_message_is_told_by_its_code() {
        for (body, expected) in [
            ("", code::PARSE_ERROR),
            ("{", code::PARSE_ERROR),
            (r#"{"jsonrpc":"2.0","id":1,"method":"pi"#, code::PARSE_ERROR),
            ("nul", code::PARSE_ERROR),
            ("1", code::INVALID_REQUEST),
            ("\"ping\"", code::INVALID_REQUEST),
            ("{}", code::INVALID_REQUEST),
            ("[]", code::INVALID_REQUEST),
            (
                r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
                code::INVALID_REQUEST,
            ),
            (r#"{"jsonrpc":"2.0","id":1}"#, code::INVALID_REQUEST),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
                code::INVALID_REQUEST,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
                code::INVALID_REQUEST,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
                code::INVALID_REQUEST,
            ),
            (r#"{"jsonrpc":"2.0","result":{}}"#, code::INVALID_REQUEST),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
                code::INVALID_PARAMS,
            ),
        ] {
            assert_eq!(failure(body), expected, "{body}");
        }
        assert_eq!(parse(b"\xff").unwrap_err().code, code::PARSE_ERROR);
        let told = parse(br#"{"jsonrpc":"1.0","id":"x","method":"ping"}"#).unwrap_err();
        assert_eq!(told.id.unwrap().get(), "\"x\"");
    }

    #[test]
    fn an_error_repeats_little_of_its_request() {
        let error = RpcError::params(format!("unknown: {}", "é".repeat(1 << 20)));
        assert!(error.message.len() < 1010 && error.message.ends_with('…'));
        assert_eq!(RpcError::params("short").message, "short");
    }

    #[test]
    fn nesting_counts_no_brackets_within_strings() {
        assert_eq!(nesting(br#"{"a":"[[[\"[["}"#), 1);
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let body = |levels: usize| {
            let params = deep(levels - 2);
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"a":{params}}}}}"#)
        };
        assert!(parse(body(MAX_NESTING).as_bytes()).is_ok());
        assert_eq!(failure(&body(MAX_NESTING + 1)), code::INVALID_REQUEST);
        assert_eq!(failure(&"[".repeat(4 << 20)), code::INVALID_REQUEST);
    }

    #[test]
    fn each_message_of_a_batch_stands_for_itself() {
        let body = br#" [{"jsonrpc":"2.0","id":1,"method":"ping"}, 7,
            {"jsonrpc":"2.0","method":"notifications/initialized"},
            {"jsonrpc":"2.0","id":2,"result":{}}]"#;
        let Body::Batch(messages) = parse(body).unwrap() else {
            panic!("a batch")
        };
        assert!(matches!(messages[0], Ok(Message::Request(_))));
        assert_eq!(
            messages[1].as_ref().unwrap_err().code,
            code::INVALID_REQUEST
        );
        assert!(matches!(messages[2], Ok(Message::Notification(_))));
        assert!(matches!(messages[3], Ok(Message::Response(_))));
        assert_eq!(parse_one(body).unwrap_err().code, code::INVALID_REQUEST);
    }

    #[test]
    fn one_string_is_one_key_however_it_is_written() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        assert_eq!(id_key(&raw("\"ab\"")), id_key(&raw("\"a\\u0062\"")));
        assert_ne!(id_key(&raw("\"1\"")), id_key(&raw("1")));
    }
}
