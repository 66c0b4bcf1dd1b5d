//! What is kept of a call's begin until its end.

use std::{net::IpAddr, time::SystemTime};

use telemetry::{TraceContext, TraceId};

/// Bytes of a request ID, and of what a caller calls itself, at most.
const LONGEST: usize = 128;
/// Bytes of a value that a tap asks for, at most.
const LONGEST_VALUE: usize = 256;
/// Fields of metadata that a tap shows, at most.
const MOST_FIELDS: usize = 64;

/// In order of precedence: what the caller of a call is called by.
const CALLER: [&[u8]; 2] = [b"x-mesh-caller", b"user-agent"];

/// The begin of a call that will be written down.
#[derive(Debug)]
pub struct CallHead {
    pub(super) time: SystemTime,
    pub(super) client: Option<IpAddr>,
    /// The access log has it, if the filter lets its end pass.
    pub(super) logged: bool,
    trace: Option<TraceContext>,
    request_id: Text,
    caller: Text,
    /// Which of [`CALLER`] it is by.
    caller_by: usize,
    /// For taps.
    pub(super) metadata: Option<Metadata>,
}

/// A short text within its holder: a call costs one allocation.
#[derive(Debug)]
struct Text {
    bytes: [u8; LONGEST],
    length: u8,
}

/// The names of a request's metadata, and the values that a tap asks for.
#[derive(Debug)]
pub(super) struct Metadata {
    bytes: Vec<u8>,
    /// Length of the name, and of the value that stands behind it.
    fields: Vec<(u16, Option<u16>)>,
}

impl CallHead {
    pub(super) fn new(client: Option<IpAddr>) -> Self {
        Self {
            time: SystemTime::now(),
            client,
            logged: false,
            trace: None,
            request_id: Text::EMPTY,
            caller: Text::EMPTY,
            caller_by: CALLER.len(),
            metadata: None,
        }
    }

    /// Reads the fields of a request. `wanted` are the names whose values a tap asks for.
    pub(super) fn read<'a>(
        &mut self,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        wanted: Option<&[Box<[u8]>]>,
    ) {
        let mut metadata = wanted.map(|wanted| (wanted, Metadata::new()));
        for (name, value) in fields {
            match name {
                b"x-request-id" if self.request_id.length == 0 => self.request_id.set(value),
                b"traceparent" => self.trace = TraceContext::parse(value),
                b"user-agent" | b"x-mesh-caller" => {
                    let by = usize::from(name != CALLER[0]);
                    if by < self.caller_by {
                        self.caller_by = by;
                        self.caller.set(value);
                    }
                }
                _ => {}
            }
            if let Some((wanted, metadata)) = &mut metadata {
                let shown = wanted.iter().any(|wanted| **wanted == *name);
                metadata.push(name, shown.then_some(value));
            }
        }
        self.metadata = metadata.map(|(_, metadata)| metadata);
    }

    pub(super) fn trace(&self) -> Option<TraceId> {
        self.trace.map(|trace| trace.trace_id)
    }

    pub(super) fn request_id(&self) -> Option<&[u8]> {
        self.request_id.get()
    }

    pub(super) fn caller(&self) -> Option<&[u8]> {
        self.caller.get()
    }
}

impl Text {
    const EMPTY: Self = Self {
        bytes: [0; LONGEST],
        length: 0,
    };

    fn set(&mut self, text: &[u8]) {
        let text = cut(text, LONGEST);
        self.bytes[..text.len()].copy_from_slice(text);
        self.length = text.len() as u8;
    }

    fn get(&self) -> Option<&[u8]> {
        (self.length > 0).then(|| &self.bytes[..usize::from(self.length)])
    }
}

impl Metadata {
    /// With room for most requests: growing would cost more than the rest.
    fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(256),
            fields: Vec::with_capacity(16),
        }
    }

    fn push(&mut self, name: &[u8], value: Option<&[u8]>) {
        // Pseudo-headers are no metadata.
        if name.first() == Some(&b':') || self.fields.len() == MOST_FIELDS {
            return;
        }
        let name = cut(name, LONGEST);
        let value = value.map(|value| cut(value, LONGEST_VALUE));
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        let length = |text: &[u8]| text.len() as u16;
        self.fields.push((length(name), value.map(length)));
    }

    /// Names in the order they came, and values that were asked for.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut rest = &self.bytes[..];
        self.fields.iter().map(move |(name, value)| {
            let (name, behind) = rest.split_at(usize::from(*name));
            let (shown, behind) = behind.split_at(usize::from(value.unwrap_or(0)));
            rest = behind;
            (name, value.map(|_| shown))
        })
    }
}

/// The first bytes of a text, without a part of a character at their end.
pub(super) fn cut(text: &[u8], most: usize) -> &[u8] {
    if text.len() <= most {
        return text;
    }
    let part = &text[..most];
    match std::str::from_utf8(part) {
        Err(error) if error.error_len().is_none() => &part[..error.valid_up_to()],
        _ => part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &[u8])], wanted: Option<&[Box<[u8]>]>) -> CallHead {
        let mut head = CallHead::new(None);
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), *value));
        head.read(fields, wanted);
        head
    }

    #[test]
    fn a_caller_is_known_by_its_own_name_or_its_library() {
        let agent = ("user-agent", &b"grpc-go/1.60"[..]);
        let named = ("x-mesh-caller", &b"alice"[..]);
        let caller = |fields: &[_]| head(fields, None).caller().map(<[u8]>::to_vec);
        assert_eq!(caller(&[]), None);
        assert_eq!(caller(&[agent]).unwrap(), b"grpc-go/1.60");
        assert_eq!(caller(&[agent, named]).unwrap(), b"alice");
        assert_eq!(caller(&[named, agent]).unwrap(), b"alice");
        assert_eq!(
            caller(&[named, ("x-mesh-caller", b"bob")]).unwrap(),
            b"alice"
        );
    }

    #[test]
    fn what_a_client_sends_is_cut_at_a_character() {
        let long = "ü".repeat(100);
        let head = head(&[("x-request-id", long.as_bytes())], None);
        assert_eq!(head.request_id().unwrap(), "ü".repeat(64).as_bytes());
        let odd = format!("x{long}");
        assert_eq!(cut(odd.as_bytes(), 128).len(), 127);
        assert_eq!(cut(&[0xff; 200], 128).len(), 128);
    }

    #[test]
    fn a_tap_gets_all_names_and_the_values_it_asks_for() {
        let fields: [(&str, &[u8]); 4] = [
            (":path", b"/t.S/M"),
            ("authorization", b"secret"),
            ("x-a", b"1"),
            ("x-a", b"2"),
        ];
        assert!(head(&fields, None).metadata.is_none());
        let wanted = [Box::from(&b"x-a"[..])];
        let head = head(&fields, Some(&wanted));
        let shown: Vec<_> = head.metadata.as_ref().unwrap().fields().collect();
        let expected: [(&[u8], Option<&[u8]>); 3] = [
            (b"authorization", None),
            (b"x-a", Some(b"1")),
            (b"x-a", Some(b"2")),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn metadata_without_end_is_kept_in_part() {
        let value = vec![b'v'; 100_000];
        let fields: Vec<(&str, &[u8])> = vec![("x-a", &value); 1000];
        let wanted = [Box::from(&b"x-a"[..])];
        let head = head(&fields, Some(&wanted));
        let metadata = head.metadata.unwrap();
        assert_eq!(metadata.fields().count(), MOST_FIELDS);
        assert!(metadata.bytes.len() <= MOST_FIELDS * (LONGEST + LONGEST_VALUE));
    }
}
