//! The frames in which gRPC sends messages: a byte of flags, four of the message's length, then the
//! message ("gRPC over HTTP/2", Length-Prefixed-Message).

/// The length of a frame's header.
pub const HEADER_BYTES: usize = 5;

/// A header: the flags, of which bit 0 says that the message is compressed, and the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bit 0: the message is compressed.
    pub flags: u8,
    /// Bytes of the message.
    pub length: u32,
}

impl Header {
    /// The header in these bytes.
    #[must_use]
    pub const fn decode([flags, a, b, c, d]: [u8; HEADER_BYTES]) -> Self {
        let length = u32::from_be_bytes([a, b, c, d]);
        Self { flags, length }
    }

    /// The header as bytes.
    #[must_use]
    pub const fn encode(self) -> [u8; HEADER_BYTES] {
        let [a, b, c, d] = self.length.to_be_bytes();
        [self.flags, a, b, c, d]
    }
}

/// The header and the message of the frame at the front of these bytes; `None` when the header is
/// incomplete, and a message of `None` when that is.
#[must_use]
pub fn first(bytes: &[u8]) -> Option<(Header, Option<&[u8]>)> {
    let (header, rest) = bytes.split_first_chunk()?;
    let header = Header::decode(*header);
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    Some((header, rest.get(..length)))
}

/// A header announces a message over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Bytes of the message.
    pub size: u64,
    /// The limit.
    pub max: u64,
}

/// What some bytes of a stream of frames are.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A message begins.
    Start(Header),
    /// It goes on.
    Bytes(&'a [u8]),
    /// It is complete.
    End,
}

/// Reads frames from a stream in any split, and holds none of it. A message over the limit is an
/// error as soon as its header is there, before its bytes come.
///
/// ```
/// use mesh_proto::frame::{FrameReader, TooLarge};
///
/// let mut reader = FrameReader::new(8);
/// reader.feed(&[0, 0, 0, 0, 2, b'h']).unwrap();
/// assert!(!reader.is_between_messages());
/// reader.feed(b"i").unwrap();
/// assert!(reader.is_between_messages());
/// assert_eq!(reader.feed(&[0, 0, 0, 1, 0]), Err(TooLarge { size: 256, max: 8 }));
/// ```
#[derive(Debug)]
pub struct FrameReader {
    max: u64,
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that are there; all of them while the message goes on.
    have: usize,
    /// Bytes of the message still to come.
    left: u32,
}

impl FrameReader {
    /// A reader that allows messages of at most `max` bytes.
    #[must_use]
    pub const fn new(max: u64) -> Self {
        Self {
            max,
            header: [0; HEADER_BYTES],
            have: 0,
            left: 0,
        }
    }

    /// Measures the next bytes of the stream.
    ///
    /// # Errors
    /// When a header announces a message over the limit.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TooLarge> {
        while self.step(&mut bytes)?.is_some() {}
        Ok(())
    }

    /// Whether the bytes so far end where a message does.
    #[must_use]
    pub const fn is_between_messages(&self) -> bool {
        self.have == 0
    }

    /// The next piece, taken off the front of `bytes`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When a header announces a message over the limit.
    pub fn step<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Piece<'a>>, TooLarge> {
        if self.have == HEADER_BYTES {
            if self.left == 0 {
                self.have = 0;
                return Ok(Some(Piece::End));
            }
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let Some(part) = bytes.split_off(..bytes.len().min(left)) else {
                return Ok(None);
            };
            if part.is_empty() {
                return Ok(None);
            }
            self.left -= u32::try_from(part.len()).unwrap_or(self.left);
            return Ok(Some(Piece::Bytes(part)));
        }
        let length = bytes.len().min(HEADER_BYTES - self.have);
        let (part, rest) = bytes.split_at(length);
        *bytes = rest;
        self.header[self.have..self.have + length].copy_from_slice(part);
        self.have += length;
        if self.have < HEADER_BYTES {
            return Ok(None);
        }
        let header = Header::decode(self.header);
        let (size, max) = (u64::from(header.length), self.max);
        if size > max {
            return Err(TooLarge { size, max });
        }
        self.left = header.length;
        Ok(Some(Piece::Start(header)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_in_any_split() {
        let wire = [
            0, 0, 0, 0, 2, b'h', b'i', 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'x',
        ];
        for size in 1..=wire.len() {
            let mut reader = FrameReader::new(2);
            let (mut heads, mut bytes, mut ends) = (Vec::new(), Vec::new(), 0);
            for mut chunk in wire.chunks(size) {
                while let Some(piece) = reader.step(&mut chunk).unwrap() {
                    match piece {
                        Piece::Start(header) => heads.push((header.flags, header.length)),
                        Piece::Bytes(part) => bytes.extend_from_slice(part),
                        Piece::End => ends += 1,
                    }
                }
            }
            assert_eq!(heads, [(0, 2), (1, 0), (0, 1)], "by {size}");
            assert_eq!((bytes.as_slice(), ends), (&b"hix"[..], 3), "by {size}");
            assert!(reader.is_between_messages());
        }
    }

    #[test]
    fn the_first_frame_is_complete_with_its_last_byte() {
        let header = Header {
            flags: 1,
            length: 2,
        };
        let wire = [&header.encode()[..], b"hi!"].concat();
        assert_eq!(first(&wire[..4]), None);
        assert_eq!(first(&wire[..6]), Some((header, None)));
        assert_eq!(first(&wire), Some((header, Some(&b"hi"[..]))));
    }
}
