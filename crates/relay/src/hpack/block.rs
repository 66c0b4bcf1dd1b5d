//! A decoded header block whose fields are ready to be written again.

use super::{Token, integer, static_table::STATIC};

/// The fields of one header block, in order. Reused from block to block, so that decoding
/// allocates nothing once it has grown.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Every field as it is written: literals without Huffman coding, or an index of the static
    /// table.
    wire: Vec<u8>,
    entries: Vec<Entry>,
    /// RFC 9113's size: names and values and 32 bytes a field.
    size: usize,
    /// The limit of `size` was passed: what came later is missing.
    truncated: bool,
    /// A field of the mesh's own has been among them.
    mesh: bool,
}

/// Where a field stands in `wire`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) token: Token,
    start: u32,
    end: u32,
    name: Text,
    value: Text,
    /// What it counts in a header list: RFC 9113, section 6.5.2.
    pub(super) size: u32,
}

/// A name or a value: bytes of the field's wire form, or of the static table.
#[derive(Clone, Copy, Debug)]
enum Text {
    /// Offset from the field's start, and length.
    Wire(u32, u32),
    StaticName(u8),
    StaticValue(u8),
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// What it is to the relay.
    pub token: Token,
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Its bytes, as they are written to a connection.
    pub wire: &'a [u8],
}

impl Block {
    /// An empty block.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets every field, and keeps the memory.
    pub fn clear(&mut self) {
        self.wire.clear();
        self.entries.clear();
        self.size = 0;
        self.truncated = false;
        self.mesh = false;
    }

    /// Bytes of memory that it has.
    pub(crate) fn memory(&self) -> usize {
        self.wire.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Whether it may have a field of the mesh's own: `x-mesh-…`.
    #[must_use]
    pub fn has_mesh_fields(&self) -> bool {
        self.mesh
    }

    /// The fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(|entry| self.field(entry))
    }

    /// What each field is to the relay, in order, and its place for [`Self::at`].
    pub(crate) fn tokens(&self) -> impl Iterator<Item = (usize, Token)> {
        let tokens = self.entries.iter().map(|entry| entry.token);
        tokens.enumerate()
    }

    /// Writes the fields without those that are left out; answers the size of their list.
    pub(crate) fn write_without(
        &self,
        out: &mut Vec<u8>,
        left_out: impl Fn(usize, Token) -> bool,
    ) -> usize {
        // Nearly all go on: they are copied together.
        let (mut from, mut size) = (0, self.size);
        for (place, entry) in self.entries.iter().enumerate() {
            if left_out(place, entry.token) {
                out.extend_from_slice(&self.wire[from..entry.start as usize]);
                from = entry.end as usize;
                size -= entry.size as usize;
            }
        }
        out.extend_from_slice(&self.wire[from..]);
        size
    }

    pub(crate) fn at(&self, place: usize) -> Field<'_> {
        self.field(&self.entries[place])
    }

    /// The first field with this token.
    #[must_use]
    pub fn get(&self, token: Token) -> Option<Field<'_>> {
        self.entries
            .iter()
            .find(|entry| entry.token == token)
            .map(|entry| self.field(entry))
    }

    /// The first field with this name.
    #[must_use]
    pub fn named(&self, name: &[u8]) -> Option<Field<'_>> {
        // The mesh's own names are asked for with every call, and are seldom there.
        if !self.mesh && name.starts_with(b"x-mesh-") {
            return None;
        }
        self.entries
            .iter()
            .find(|entry| text(&self.wire, entry, entry.name) == name)
            .map(|entry| self.field(entry))
    }

    /// All fields as they are written to a connection.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// The size of the list as RFC 9113 counts it, bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether fields are missing because the list was larger than its limit.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Adds a field of our own: its name and value are the caller's, and valid.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.wire.len();
        let (name_at, value_at) = write_literal(&mut self.wire, false, name, value);
        self.entry(Token::of(name, value), start, name_at, value_at);
    }

    /// Without the fields that do not go on, which are asked for by name: the mesh's own alone.
    #[must_use]
    pub(crate) fn without_mesh(&self, goes_on: impl Fn(&Field<'_>) -> bool) -> Self {
        let mut out = Self::new();
        for entry in &self.entries {
            let field = self.field(entry);
            if entry.token != Token::Mesh || goes_on(&field) {
                out.copied(*entry, field.wire);
            }
        }
        out
    }

    /// Adds all fields of another block.
    pub fn append(&mut self, other: &Self) {
        for entry in &other.entries {
            self.copied(*entry, other.field(entry).wire);
        }
    }

    /// Adds a literal; `never_indexed` stays so on every hop (RFC 7541, section 7.1.3).
    pub(crate) fn literal(&mut self, token: Token, never_indexed: bool, name: &[u8], value: &[u8]) {
        let start = self.wire.len();
        let (name_at, value_at) = write_literal(&mut self.wire, never_indexed, name, value);
        self.entry(token, start, name_at, value_at);
    }

    fn entry(&mut self, token: Token, start: usize, name: (usize, usize), value: (usize, usize)) {
        let size = name.1 + value.1 + 32;
        self.size += size;
        self.mesh |= token == Token::Mesh;
        let text = |(at, length): (usize, usize)| Text::Wire((at - start) as u32, length as u32);
        self.entries.push(Entry {
            token,
            start: start as u32,
            end: self.wire.len() as u32,
            name: text(name),
            value: text(value),
            size: size as u32,
        });
    }

    /// Adds a field of the static table, by its index from 0.
    pub(super) fn indexed(&mut self, token: Token, index: usize) {
        let start = self.wire.len();
        integer::write(&mut self.wire, 0x80, 7, index + 1);
        let (name, value) = STATIC[index];
        let size = name.len() + value.len() + 32;
        self.size += size;
        self.entries.push(Entry {
            token,
            start: start as u32,
            end: self.wire.len() as u32,
            name: Text::StaticName(index as u8),
            value: Text::StaticValue(index as u8),
            size: size as u32,
        });
    }

    /// Adds a field of a dynamic table, which keeps fields in their wire form.
    pub(super) fn copied(&mut self, entry: Entry, wire: &[u8]) {
        let start = self.wire.len() as u32;
        self.wire.extend_from_slice(wire);
        self.size += entry.size as usize;
        self.mesh |= entry.token == Token::Mesh;
        self.entries.push(Entry {
            start,
            end: self.wire.len() as u32,
            ..entry
        });
    }

    pub(super) fn truncate(&mut self) {
        self.truncated = true;
    }

    /// The last field, for a dynamic table to keep.
    pub(super) fn last(&self) -> Option<(Entry, Field<'_>)> {
        self.entries.last().map(|entry| (*entry, self.field(entry)))
    }

    /// Takes the last field off.
    pub(super) fn pop(&mut self) {
        if let Some(entry) = self.entries.pop() {
            self.size -= entry.size as usize;
            self.wire.truncate(entry.start as usize);
        }
    }

    fn field(&self, entry: &Entry) -> Field<'_> {
        Field {
            token: entry.token,
            name: text(&self.wire, entry, entry.name),
            value: text(&self.wire, entry, entry.value),
            wire: &self.wire[entry.start as usize..entry.end as usize],
        }
    }
}

impl Entry {
    /// The name of a field that a table keeps as `wire`.
    pub(super) fn name_in<'a>(&self, wire: &'a [u8]) -> &'a [u8] {
        text(wire, &Self { start: 0, ..*self }, self.name)
    }
}

fn text<'a>(wire: &'a [u8], entry: &Entry, text: Text) -> &'a [u8] {
    match text {
        Text::Wire(at, length) => {
            let at = (entry.start + at) as usize;
            &wire[at..at + length as usize]
        }
        Text::StaticName(index) => STATIC[usize::from(index)].0.as_bytes(),
        Text::StaticValue(index) => STATIC[usize::from(index)].1.as_bytes(),
    }
}

/// Writes a literal that no table keeps; answers where its name and its value stand, with lengths.
fn write_literal(
    out: &mut Vec<u8>,
    never_indexed: bool,
    name: &[u8],
    value: &[u8],
) -> ((usize, usize), (usize, usize)) {
    out.push(if never_indexed { 0x10 } else { 0x00 });
    integer::write(out, 0, 7, name.len());
    let name_at = out.len();
    out.extend_from_slice(name);
    integer::write(out, 0, 7, value.len());
    let value_at = out.len();
    out.extend_from_slice(value);
    ((name_at, name.len()), (value_at, value.len()))
}
