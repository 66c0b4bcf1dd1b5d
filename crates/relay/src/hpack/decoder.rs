//! Decodes header blocks (RFC 7541, sections 3 and 6).

use super::{Block, Error, Token, huffman, integer, static_table::STATIC, table::Table};

/// The decoder of one direction of a connection. Every block of the connection goes through it, in
/// the order of arrival, those of dead streams too: they change its table.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// What our SETTINGS allow the peer.
    max_table: usize,
    /// A literal's strings, decoded.
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Memory that is kept for a string, bytes.
const KEPT: usize = 4096;

/// The tokens of the static table, told once.
static TOKENS: [Token; 61] = {
    let mut out = [Token::Other; 61];
    out[0] = Token::Authority;
    out[1] = Token::Method;
    out[2] = Token::Method;
    out[3] = Token::Path;
    out[4] = Token::Path;
    out[5] = Token::Scheme;
    out[6] = Token::Scheme;
    let mut status = 7;
    while status < 14 {
        out[status] = Token::Status;
        status += 1;
    }
    out[27] = Token::ContentLength;
    out[30] = Token::ContentType;
    out[37] = Token::Host;
    out[56] = Token::Malformed;
    out
};

impl Decoder {
    /// A decoder whose table the peer may fill up to `max_table` bytes (SETTINGS_HEADER_TABLE_SIZE).
    #[must_use]
    pub fn new(max_table: usize) -> Self {
        Self {
            table: Table::new(max_table),
            max_table,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// What its table holds, as a number that is another one after each change.
    pub(crate) fn table(&self) -> u64 {
        self.table.changes()
    }

    /// Decodes one whole block into `block`. What comes once it has `max_list` bytes is left out
    /// there ([`Block::is_truncated`]), and still enters the table: that costs no more than its bytes,
    /// however long a list they stand for.
    ///
    /// # Errors
    /// When the bytes are no header block: the connection cannot go on.
    pub fn decode(
        &mut self,
        mut bytes: &[u8],
        max_list: usize,
        block: &mut Block,
    ) -> Result<(), Error> {
        block.clear();
        for text in [&mut self.name, &mut self.value] {
            // What a long string needed is not kept for the short ones that follow.
            if text.capacity() > KEPT {
                *text = Vec::new();
            }
        }
        let mut begun = false;
        while let Some(first) = bytes.first() {
            match first {
                0x80.. => {
                    let index = integer::read(&mut bytes, 7)?;
                    if block.is_truncated() {
                        self.exists(index)?;
                    } else {
                        self.indexed(index, block)?;
                    }
                }
                0x40..=0x7f => {
                    let spaces = self.literal(&mut bytes, 6, false, block)?;
                    self.table.keep_last(block, spaces);
                }
                0x20..=0x3f => {
                    let size = integer::read(&mut bytes, 5)?;
                    if begun || size > self.max_table {
                        return Err(Error::TableSize);
                    }
                    self.table.resize(size);
                    continue;
                }
                0x00..=0x1f if block.is_truncated() => self.skip(&mut bytes)?,
                0x00..=0x1f => {
                    self.literal(&mut bytes, 4, *first & 0x10 != 0, block)?;
                }
            }
            begun = true;
            if block.size() > max_list {
                block.pop();
                block.truncate();
            }
        }
        Ok(())
    }

    fn indexed(&self, index: usize, block: &mut Block) -> Result<(), Error> {
        match index {
            0 => Err(Error::Index),
            1..=61 => {
                block.indexed(TOKENS[index - 1], index - 1);
                Ok(())
            }
            _ if self.table.copy(index - 62, block) => Ok(()),
            _ => Err(Error::Index),
        }
    }

    /// Whether an index names a field.
    fn exists(&self, index: usize) -> Result<(), Error> {
        let known = (1..=61).contains(&index)
            || index
                .checked_sub(62)
                .is_some_and(|index| self.table.name(index).is_some());
        known.then_some(()).ok_or(Error::Index)
    }

    /// Passes over a literal that enters no table.
    fn skip(&self, bytes: &mut &[u8]) -> Result<(), Error> {
        match integer::read(bytes, 4)? {
            0 => skip_string(bytes)?,
            index => self.exists(index)?,
        }
        skip_string(bytes)
    }

    /// Answers how many spaces around the value were left out. HTTP/2 forbids them, and gRPC allows
    /// to take them off: there are libraries that send them at the end of a `grpc-message`.
    fn literal(
        &mut self,
        bytes: &mut &[u8],
        prefix: u32,
        never_indexed: bool,
        block: &mut Block,
    ) -> Result<usize, Error> {
        let index = integer::read(bytes, prefix)?;
        self.name.clear();
        match index {
            0 => string(bytes, &mut self.name)?,
            1..=61 => self.name.extend_from_slice(STATIC[index - 1].0.as_bytes()),
            _ => {
                let name = self.table.name(index - 62).ok_or(Error::Index)?;
                self.name.extend_from_slice(name);
            }
        }
        self.value.clear();
        string(bytes, &mut self.value)?;
        let pseudo = self.name.first() == Some(&b':');
        let value = if pseudo {
            &self.value[..]
        } else {
            trim(&self.value)
        };
        let token = Token::of(&self.name, value);
        block.literal(token, never_indexed, &self.name, value);
        Ok(self.value.len() - value.len())
    }
}

/// Without spaces and tabs at both ends.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn skip_string(bytes: &mut &[u8]) -> Result<(), Error> {
    let length = integer::read(bytes, 7)?;
    let (_, rest) = bytes.split_at_checked(length).ok_or(Error::Truncated)?;
    *bytes = rest;
    Ok(())
}

fn string(bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let coded = bytes.first().ok_or(Error::Truncated)? & 0x80 != 0;
    let length = integer::read(bytes, 7)?;
    let (text, rest) = bytes.split_at_checked(length).ok_or(Error::Truncated)?;
    *bytes = rest;
    if coded {
        huffman::decode(text, out)
    } else {
        out.extend_from_slice(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
