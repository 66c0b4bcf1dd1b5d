//! One message of JSON-RPC 2.0, its parts as they came.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, json, value::RawValue};

/// A part of a message that is not looked into.
pub(crate) type Raw = Box<RawValue>;

/// Bytes of a text of the other side that a log or an error shows.
const SHOWN: usize = 300;

/// What a request came to: a result, or an error object.
pub(crate) type Outcome = Result<Raw, Raw>;

/// Error codes of JSON-RPC and of MCP.
pub(crate) mod code {
    pub(crate) const PARSE: i64 = -32_700;
    pub(crate) const INVALID_REQUEST: i64 = -32_600;
    pub(crate) const UNKNOWN_METHOD: i64 = -32_601;
    pub(crate) const INVALID_PARAMS: i64 = -32_602;
    pub(crate) const INTERNAL: i64 = -32_603;
    /// A resource that does not exist, before 2026-07-28.
    pub(crate) const NO_RESOURCE: i64 = -32_002;
    pub(crate) const NO_CAPABILITY: i64 = -32_021;
    pub(crate) const VERSION: i64 = -32_022;
    /// What a server of 2026-07-28 answers and no earlier one.
    pub(crate) const MODERN: std::ops::RangeInclusive<i64> = -32_022..=-32_020;
}

/// A message as it is written.
#[derive(Debug, Default, Deserialize)]
struct Parts {
    id: Option<Raw>,
    method: Option<String>,
    params: Option<Raw>,
    result: Option<Raw>,
    error: Option<Raw>,
}

/// A message by its kind.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Asks for a response of the same id.
    Request(Request),
    /// Asks for none.
    Notification(Notification),
    /// What a request came to.
    Response {
        /// The request's id. An error about an unreadable request has none.
        id: Option<Raw>,
        outcome: Outcome,
    },
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: Raw,
    pub(crate) method: String,
    pub(crate) params: Option<Raw>,
}

/// A notification.
#[derive(Clone, Debug)]
pub(crate) struct Notification {
    pub(crate) method: String,
    pub(crate) params: Option<Raw>,
}

/// Bytes that are no message: the code of the answer, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) i64, pub(crate) String);

impl Message {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let parts: Parts = serde_json::from_slice(bytes).map_err(|error| {
            let code = match error.classify() {
                serde_json::error::Category::Data => code::INVALID_REQUEST,
                _ => code::PARSE,
            };
            Malformed(code, format!("no message of JSON-RPC: {error}"))
        })?;
        let invalid = |why: &str| Malformed(code::INVALID_REQUEST, why.to_owned());
        match parts {
            Parts {
                method: Some(method),
                id: Some(id),
                params,
                ..
            } => {
                // A text or a number: `null` has become no id at all.
                if !id
                    .get()
                    .starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
                {
                    return Err(invalid("the id is neither a text nor a number"));
                }
                Ok(Self::Request(Request { id, method, params }))
            }
            Parts {
                method: Some(method),
                params,
                ..
            } => Ok(Self::Notification(Notification { method, params })),
            Parts {
                error: Some(error),
                id,
                ..
            } => Ok(Self::Response {
                id,
                outcome: Err(error),
            }),
            Parts {
                id: Some(id),
                result,
                ..
            } => Ok(Self::Response {
                id: Some(id),
                outcome: Ok(result.unwrap_or_else(|| raw(&Value::Null))),
            }),
            _ => Err(invalid("a message has a method, a result or an error")),
        }
    }

    #[cfg(test)]
    fn write(&self) -> Vec<u8> {
        match self {
            Self::Request(it) => it.write(),
            Self::Notification(it) => it.write(),
            Self::Response { id, outcome } => response(id.as_deref(), outcome),
        }
    }
}

impl Request {
    pub(crate) fn write(&self) -> Vec<u8> {
        let id = Some(self.id.get());
        call(id, &self.method, self.params.as_deref())
    }
}

impl Notification {
    pub(crate) fn new(method: &str, params: &Value) -> Self {
        Self {
            method: method.to_owned(),
            params: Some(raw(params)),
        }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        call(None, &self.method, self.params.as_deref())
    }

    /// Bytes of its parts.
    pub(crate) fn size(&self) -> usize {
        self.method.len() + self.params.as_ref().map_or(0, |it| it.get().len())
    }

    /// The parameters; none where they are no object.
    pub(crate) fn fields(&self) -> Fields {
        fields(self.params.as_deref()).unwrap_or_default()
    }
}

fn call(id: Option<&str>, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let mut out = br#"{"jsonrpc":"2.0""#.to_vec();
    if let Some(id) = id {
        out.extend_from_slice(br#","id":"#);
        out.extend_from_slice(id.as_bytes());
    }
    out.extend_from_slice(br#","method":"#);
    out.extend_from_slice(Value::from(method).to_string().as_bytes());
    if let Some(params) = params {
        out.extend_from_slice(br#","params":"#);
        out.extend_from_slice(params.get().as_bytes());
    }
    out.push(b'}');
    out
}

/// The response to a request.
pub(crate) fn response(id: Option<&RawValue>, outcome: &Outcome) -> Vec<u8> {
    let mut out = br#"{"jsonrpc":"2.0","id":"#.to_vec();
    out.extend_from_slice(id.map_or("null", RawValue::get).as_bytes());
    let (name, value): (&[u8], &Raw) = match outcome {
        Ok(result) => (br#","result":"#, result),
        Err(error) => (br#","error":"#, error),
    };
    out.extend_from_slice(name);
    out.extend_from_slice(value.get().as_bytes());
    out.push(b'}');
    out
}

/// A value as text.
pub(crate) fn raw(value: &Value) -> Raw {
    RawValue::from_string(value.to_string()).expect("what is printed of a value is JSON")
}

/// An error object.
pub(crate) fn error(code: i64, message: impl Into<String>) -> Raw {
    raw(&json!({"code": code, "message": message.into()}))
}

/// An error object with data.
pub(crate) fn error_with(code: i64, message: &str, data: &Value) -> Raw {
    raw(&json!({"code": code, "message": message, "data": data}))
}

/// The code of an error object; 0 when it has none.
pub(crate) fn error_code(error: &RawValue) -> i64 {
    #[derive(Deserialize)]
    struct Code {
        code: i64,
    }
    serde_json::from_str::<Code>(error.get()).map_or(0, |it| it.code)
}

/// The text of an error object.
pub(crate) fn error_text(error: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Text {
        message: String,
    }
    serde_json::from_str::<Text>(error.get())
        .map_or_else(|_| error.get().to_owned(), |it| it.message)
}

/// The beginning of a text of the other side, for logs and errors.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN)]
}

/// Whether no object in it has two members of one name.
pub(crate) fn is_unambiguous(value: &RawValue) -> bool {
    serde_json::from_str::<Unambiguous>(value.get()).is_ok()
}

/// A value whose objects have each member once.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self, A::Error> {
        while all.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, Self)) = members.next_entry::<String, Self>()? {
            if !names.insert(name) {
                return Err(serde::de::Error::custom("a member is there twice"));
            }
        }
        Ok(self)
    }
}

/// The fields of an object, each as it came: numbers of every size stay what they are.
pub(crate) type Fields = BTreeMap<String, Raw>;

/// The fields of an object; `None` where it is none. Absent parameters are an empty object.
pub(crate) fn fields(value: Option<&RawValue>) -> Option<Fields> {
    match value {
        None => Some(Fields::new()),
        Some(value) => serde_json::from_str(value.get()).ok(),
    }
}

/// A value as JSON.
pub(crate) fn to_raw(value: &impl Serialize) -> Raw {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| raw(&Value::Null))
}

/// The text of a JSON text; `None` where it is something else.
pub(crate) fn text(value: Option<&Raw>) -> Option<String> {
    serde_json::from_str(value?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> String {
        match Message::read(text.as_bytes()) {
            Ok(Message::Request(it)) => format!("request {} {}", it.id, it.method),
            Ok(Message::Notification(it)) => format!("notification {}", it.method),
            Ok(Message::Response { id, outcome }) => {
                let id = id.map_or("none".to_owned(), |id| id.to_string());
                format!("response {id} {}", outcome.is_ok())
            }
            Err(Malformed(code, _)) => format!("error {code}"),
        }
    }

    #[test]
    fn a_message_is_read_by_its_parts() {
        let table = [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
                "request 1 ping",
            ),
            (r#"{"id":"é","method":"a","params":{}}"#, "request \"é\" a"),
            (r#"{"id":-1.5e3,"method":"a"}"#, "request -1.5e3 a"),
            (r#"{"id":null,"method":"a"}"#, "notification a"),
            (r#"{"method":"a"}"#, "notification a"),
            (r#"{"id":7,"result":null}"#, "response 7 true"),
            (r#"{"id":7,"result":{"error":1}}"#, "response 7 true"),
            (
                r#"{"error":{"code":1,"message":""}}"#,
                "response none false",
            ),
            (r#"{"id":{},"method":"a"}"#, "error -32600"),
            (r#"{"id":true,"method":"a"}"#, "error -32600"),
            (r#"{"method":1}"#, "error -32600"),
            ("[]", "error -32600"),
            ("{}", "error -32600"),
            (r#"{"id":1,"#, "error -32700"),
            ("\u{0}", "error -32700"),
        ];
        for (text, expected) in table {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn a_member_that_is_there_twice_is_found_at_every_depth() {
        let read = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        for text in [
            "1",
            "-1.5",
            "null",
            "true",
            r#""a""#,
            r#"[{"a":1},{"a":2}]"#,
        ] {
            assert!(is_unambiguous(&read(text)), "{text}");
        }
        for text in [r#"{"a":1,"a":1}"#, r#"[{"x":{"a":1,"b":2,"\u0061":3}}]"#] {
            assert!(!is_unambiguous(&read(text)), "{text}");
        }
    }

    #[test]
    fn what_is_read_is_written_to_the_letter() {
        for text in [
            r#"{"jsonrpc":"2.0","id":10000000000000000000000,"method":"a","params":{"n":1.0,"z":[],"a":1}}"#,
            r#"{"jsonrpc":"2.0","method":"n"}"#,
            r#"{"jsonrpc":"2.0","id":"x","result":{"b":1e400,"a":"\u0000"}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"m"}}"#,
        ] {
            let written = Message::read(text.as_bytes()).unwrap().write();
            assert_eq!(String::from_utf8(written).unwrap(), text);
        }
    }
}
