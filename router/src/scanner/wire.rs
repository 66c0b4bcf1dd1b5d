//! The protobuf wire format, byte by byte: skips what it does not know in constant memory.
//! <https://protobuf.dev/programming-guides/encoding/>

use super::{
    ScanError,
    captured::{Captured, MAX_CAPTURED_BYTES},
};
use crate::compression::Sink;

/// How deep groups may nest; protobuf's own decoders stop there too.
const MAX_DEPTH: usize = 100;

/// Scans one message.
#[derive(Debug)]
pub(super) struct Wire {
    captured: Captured,
    /// Bytes of the message still to come; `None` when it is compressed, so that only its end
    /// tells.
    left: Option<u64>,
    state: State,
    /// Field numbers of the groups that are open, outermost first.
    groups: Vec<u32>,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Inside a field's key, or before it when nothing of it has come.
    Key(Varint),
    /// Inside a varint that nobody wants.
    Number(Varint),
    /// Inside the length of a string, bytes or message.
    Length(u32, Varint),
    /// Inside bytes that nobody wants: this many are to come.
    Skip(u64),
    /// Inside a string that is captured: its field, and how many bytes are to come.
    Capture(u32, usize),
}

/// A varint under way.
#[derive(Clone, Copy, Debug, Default)]
struct Varint {
    value: u64,
    bytes: u32,
}

impl Varint {
    /// The value once `byte` completes it.
    fn push(&mut self, byte: u8) -> Result<Option<u64>, ScanError> {
        // The tenth byte holds the 64th bit and nothing else.
        if self.bytes == 9 && byte > 1 {
            return Err(ScanError::malformed("a varint is longer than 64 bits"));
        }
        self.value |= u64::from(byte & 0x7f) << (7 * self.bytes);
        self.bytes += 1;
        Ok((byte < 0x80).then_some(self.value))
    }
}

impl Wire {
    /// Scans a message of `length` bytes; `None` when only its end will tell.
    pub(super) fn new(captured: Captured, length: Option<u64>) -> Self {
        Self {
            captured,
            left: length,
            state: KEY,
            groups: Vec::new(),
            buffer: Vec::new(),
        }
    }

    pub(super) fn captured(&self) -> &Captured {
        &self.captured
    }

    /// Takes the next bytes of the message.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ScanError> {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.state {
                State::Key(mut varint) => {
                    self.took(1);
                    bytes = rest;
                    self.state = match varint.push(first)? {
                        Some(key) => self.field(key)?,
                        None => State::Key(varint),
                    };
                }
                State::Number(mut varint) => {
                    self.took(1);
                    bytes = rest;
                    self.state = if varint.push(first)?.is_some() {
                        KEY
                    } else {
                        State::Number(varint)
                    };
                }
                State::Length(field, mut varint) => {
                    self.took(1);
                    bytes = rest;
                    self.state = match varint.push(first)? {
                        Some(length) => self.delimited(field, length)?,
                        None => State::Length(field, varint),
                    };
                }
                State::Skip(left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[length..];
                    self.took(length as u64);
                    self.state = skip(left - length as u64);
                }
                State::Capture(field, left) => {
                    let (part, rest) = bytes.split_at(left.min(bytes.len()));
                    bytes = rest;
                    self.took(part.len() as u64);
                    self.buffer.extend_from_slice(part);
                    self.state = self.capture(field, left - part.len())?;
                }
            }
        }
        Ok(())
    }

    /// The message is complete.
    pub(super) fn finish(self) -> Result<Captured, ScanError> {
        if let Some(field) = self.groups.last() {
            return Err(ScanError::malformed(format!(
                "group {field} is never ended"
            )));
        }
        match self.state {
            State::Key(Varint { bytes: 0, .. }) => Ok(self.captured),
            _ => Err(ScanError::malformed("the message ends inside a field")),
        }
    }

    fn took(&mut self, bytes: u64) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes);
        }
    }

    /// What follows a field's key.
    fn field(&mut self, key: u64) -> Result<State, ScanError> {
        let key = u32::try_from(key)
            .map_err(|_| ScanError::malformed("a field number is longer than 29 bits"))?;
        let (field, wire_type) = (key >> 3, key & 7);
        if field == 0 {
            return Err(ScanError::malformed("field number 0"));
        }
        let wanted = self.wanted(field);
        if let Some(name) = wanted.filter(|_| wire_type != 2) {
            return Err(ScanError::malformed(format!(
                "{name} has wire type {wire_type} where a string has 2"
            )));
        }
        match wire_type {
            0 => Ok(State::Number(Varint::default())),
            1 => self.fits(8).map(|()| State::Skip(8)),
            2 => Ok(State::Length(field, Varint::default())),
            3 if self.groups.len() == MAX_DEPTH => Err(ScanError::malformed(format!(
                "groups nest deeper than {MAX_DEPTH}"
            ))),
            3 => {
                self.groups.push(field);
                Ok(KEY)
            }
            4 if self.groups.pop() == Some(field) => Ok(KEY),
            4 => Err(ScanError::malformed(format!(
                "group {field} ends where it is not open"
            ))),
            5 => self.fits(4).map(|()| State::Skip(4)),
            _ => Err(ScanError::malformed(format!(
                "field {field} has unknown wire type {wire_type}"
            ))),
        }
    }

    fn delimited(&mut self, field: u32, length: u64) -> Result<State, ScanError> {
        self.fits(length)?;
        let Some(name) = self.wanted(field) else {
            return Ok(skip(length));
        };
        match usize::try_from(length) {
            Ok(length) if length <= MAX_CAPTURED_BYTES => self.capture(field, length),
            _ => Err(ScanError::malformed(format!(
                "{name} has {length} bytes, and {MAX_CAPTURED_BYTES} are allowed"
            ))),
        }
    }

    fn capture(&mut self, field: u32, left: usize) -> Result<State, ScanError> {
        if left > 0 {
            return Ok(State::Capture(field, left));
        }
        self.captured.set(field, &self.buffer)?;
        self.buffer.clear();
        Ok(KEY)
    }

    /// The name of a field that is captured here: only those of the message itself are.
    fn wanted(&self, field: u32) -> Option<&'static str> {
        self.groups
            .is_empty()
            .then(|| self.captured.fields.name(field))
            .flatten()
    }

    fn fits(&self, length: u64) -> Result<(), ScanError> {
        if self.left.is_some_and(|left| length > left) {
            return Err(ScanError::malformed(
                "a field's length runs past the message's end",
            ));
        }
        Ok(())
    }
}

impl Sink for Wire {
    fn take(&mut self, bytes: &[u8]) -> Result<(), ScanError> {
        self.feed(bytes)
    }
}

const KEY: State = State::Key(Varint { value: 0, bytes: 0 });

fn skip(left: u64) -> State {
    if left == 0 { KEY } else { State::Skip(left) }
}
