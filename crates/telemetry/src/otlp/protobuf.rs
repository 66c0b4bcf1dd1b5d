//! The few shapes of Protocol Buffers that OTLP's messages are made of, written without an object for
//! each message: a span is a run of bytes from its beginning. Numbers of fields are those of
//! `opentelemetry/proto/common/v1/common.proto` and its kin.

use crate::TelemetryOptions;

/// Wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

/// The fields of messages. Those whose value is the default may be left out by the caller.
pub(crate) mod write {
    use super::{BYTES, FIXED64, VARINT};

    pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    fn key(out: &mut Vec<u8>, field: u32, kind: u32) {
        varint(out, (field << 3 | kind).into());
    }

    pub(crate) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
        key(out, field, VARINT);
        varint(out, value);
    }

    pub(crate) fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
        key(out, field, FIXED64);
        out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
        head(out, field, value.len());
        out.extend_from_slice(value);
    }

    /// The beginning of a field whose `length` bytes follow.
    pub(crate) fn head(out: &mut Vec<u8>, field: u32, length: usize) {
        key(out, field, BYTES);
        varint(out, length as u64);
    }

    /// A `KeyValue` of a text.
    pub(crate) fn text(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
        let any = field_size(value.len());
        attribute(out, field, name, any);
        bytes(out, 1, value.as_bytes());
    }

    /// A `KeyValue` of a whole number.
    pub(crate) fn integer(out: &mut Vec<u8>, field: u32, name: &str, value: i64) {
        let value = value.cast_unsigned();
        attribute(out, field, name, 1 + varint_size(value));
        number(out, 3, value);
    }

    /// A `KeyValue` of a truth value.
    pub(crate) fn boolean(out: &mut Vec<u8>, field: u32, name: &str, value: bool) {
        attribute(out, field, name, 2);
        number(out, 2, value.into());
    }

    /// A `KeyValue` of a number.
    pub(crate) fn double(out: &mut Vec<u8>, field: u32, name: &str, value: f64) {
        attribute(out, field, name, 9);
        fixed64(out, 4, value.to_bits());
    }

    /// A `KeyValue` of a list of texts.
    pub(crate) fn texts(out: &mut Vec<u8>, field: u32, name: &str, values: &[&str]) {
        let any = |value: &str| field_size(value.len());
        let list: usize = values.iter().map(|value| field_size(any(value))).sum();
        attribute(out, field, name, field_size(list));
        head(out, 5, list);
        for value in values {
            head(out, 1, any(value));
            bytes(out, 1, value.as_bytes());
        }
    }

    /// The beginning of a `KeyValue` up to its `AnyValue`, whose `any` bytes follow.
    fn attribute(out: &mut Vec<u8>, field: u32, name: &str, any: usize) {
        head(out, field, field_size(name.len()) + field_size(any));
        bytes(out, 1, name.as_bytes());
        head(out, 2, any);
    }

    /// The size of a field with a small number and so many bytes.
    pub(crate) fn field_size(length: usize) -> usize {
        1 + varint_size(length as u64) + length
    }

    fn varint_size(value: u64) -> usize {
        (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
    }
}

/// What a collector did not take of a request that it answered well.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PartialSuccess {
    /// How many items.
    pub(crate) rejected: u64,
    /// Why.
    pub(crate) reason: String,
}

impl PartialSuccess {
    /// Of an `ExportTraceServiceResponse`, or the same of logs. What is no such message says nothing.
    pub(crate) fn of(answer: &[u8]) -> Self {
        let mut found = Self::default();
        for (field, value) in read::fields(answer) {
            let read::Value::Bytes(partial) = value else {
                continue;
            };
            if field != 1 {
                continue;
            }
            for (field, value) in read::fields(partial) {
                match (field, value) {
                    // It is signed, and nothing less than nothing is rejected.
                    (1, read::Value::Number(rejected)) if rejected.cast_signed() > 0 => {
                        found.rejected = rejected;
                    }
                    (2, read::Value::Bytes(text)) => {
                        found.reason = String::from_utf8_lossy(text).into_owned();
                    }
                    _ => {}
                }
            }
        }
        found
    }
}

/// The fields of an answer.
mod read {
    use super::{BYTES, FIXED64, VARINT};

    pub(super) enum Value<'a> {
        Number(u64),
        Bytes(&'a [u8]),
        Other,
    }

    /// The fields of a message, up to the first that cannot be read.
    pub(super) fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
        std::iter::from_fn(move || {
            let key = varint(&mut rest)?;
            let value = match u32::try_from(key & 7).ok()? {
                VARINT => Value::Number(varint(&mut rest)?),
                FIXED64 => {
                    rest = rest.get(8..)?;
                    Value::Other
                }
                BYTES => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    let (value, after) = rest.split_at_checked(length)?;
                    rest = after;
                    Value::Bytes(value)
                }
                _ => return None,
            };
            Some((key >> 3, value))
        })
    }

    fn varint(rest: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, after) = rest.split_first()?;
            *rest = after;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// Who sends: the beginning of every request, which is the same for all of them.
#[derive(Debug)]
pub(crate) struct Resource {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Resource {
    /// The process's.
    pub(crate) fn of(options: &TelemetryOptions) -> Self {
        let attributes = [
            ("service.name", &*options.service_name),
            ("service.instance.id", &*options.instance_id),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("telemetry.sdk.name", "mesh"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ];
        Self::new(&attributes, "mesh")
    }

    /// A resource of these attributes; `scope` names the library that made spans.
    pub(crate) fn new(attributes: &[(&str, &str)], scope: &str) -> Self {
        let (mut list, mut name) = (Vec::new(), Vec::new());
        for (key, value) in attributes {
            write::text(&mut list, 1, key, value);
        }
        write::bytes(&mut name, 1, scope.as_bytes());
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        write::bytes(&mut resource, 1, &list);
        write::bytes(&mut scope, 1, &name);
        Self { resource, scope }
    }

    /// A request, behind `room` bytes of 0: `ExportTraceServiceRequest` of `ResourceSpans` of
    /// `ScopeSpans`, or the same of logs, which have the same numbers. `items` are the fields of
    /// spans or records.
    pub(crate) fn request(&self, items: &[u8], room: usize) -> Vec<u8> {
        let in_scope = self.scope.len() + items.len();
        let in_resource = self.resource.len() + write::field_size(in_scope);
        let mut out = Vec::with_capacity(room + 32 + in_resource);
        out.resize(room, 0);
        write::head(&mut out, 1, in_resource);
        out.extend_from_slice(&self.resource);
        write::head(&mut out, 2, in_scope);
        out.extend_from_slice(&self.scope);
        out.extend_from_slice(items);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{PartialSuccess, write};

    fn answer(rejected: u64, reason: &str) -> Vec<u8> {
        let (mut partial, mut answer) = (Vec::new(), Vec::new());
        write::number(&mut partial, 1, rejected);
        write::bytes(&mut partial, 2, reason.as_bytes());
        // A field that a later version may add.
        write::fixed64(&mut answer, 9, 1);
        write::bytes(&mut answer, 1, &partial);
        answer
    }

    #[test]
    fn an_answer_says_what_was_rejected() {
        let found = PartialSuccess::of(&answer(300, "too old"));
        assert_eq!((found.rejected, &*found.reason), (300, "too old"));
        assert_eq!(PartialSuccess::of(&answer(u64::MAX, "")).rejected, 0);
        assert_eq!(PartialSuccess::of(&[]), PartialSuccess::default());
    }

    #[test]
    fn what_is_no_such_message_says_nothing_more() {
        let whole = answer(7, "because");
        for end in 0..whole.len() {
            let found = PartialSuccess::of(&whole[..end]);
            assert_eq!(found.rejected, 0, "{end}");
        }
        for noise in [
            &[0xff; 32][..],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0x0b],
        ] {
            assert_eq!(PartialSuccess::of(noise), PartialSuccess::default());
        }
    }
}
