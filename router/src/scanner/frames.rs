//! The frames gRPC cuts messages into: one byte of flag, four of length, then the message.

use super::ScanError;

const HEADER_BYTES: usize = 5;

/// Meters the size of every message of a stream by its frame's header, before its bytes come.
#[derive(Debug)]
pub struct FrameMeter {
    max: u64,
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that are there; all of them while the message goes on.
    have: usize,
    /// Bytes of the message still to come.
    left: u32,
}

/// What some bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A message begins.
    Start { flag: u8, length: u32 },
    /// It goes on.
    Bytes(&'a [u8]),
    /// It is complete.
    End,
}

impl FrameMeter {
    /// A meter that allows messages of at most `max` bytes.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self {
            max,
            header: [0; HEADER_BYTES],
            have: 0,
            left: 0,
        }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`ScanError::TooLarge`] as soon as a header announces a message over the limit.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ScanError> {
        while self.step(&mut bytes)?.is_some() {}
        Ok(())
    }

    /// Whether the bytes so far end where a message does.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.have == 0
    }

    /// The next piece, taken off the front of `bytes`; `None` when more bytes are needed.
    pub(super) fn step<'a>(
        &mut self,
        bytes: &mut &'a [u8],
    ) -> Result<Option<Piece<'a>>, ScanError> {
        if self.have == HEADER_BYTES {
            if self.left == 0 {
                self.have = 0;
                return Ok(Some(Piece::End));
            }
            let length = bytes
                .len()
                .min(usize::try_from(self.left).unwrap_or(usize::MAX));
            if length == 0 {
                return Ok(None);
            }
            let (part, rest) = bytes.split_at(length);
            *bytes = rest;
            self.left -= u32::try_from(length).unwrap_or(self.left);
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
        let [flag, length @ ..] = self.header;
        let length = u32::from_be_bytes(length);
        if u64::from(length) > self.max {
            return Err(ScanError::TooLarge {
                size: length.into(),
                max: self.max,
            });
        }
        self.left = length;
        Ok(Some(Piece::Start { flag, length }))
    }
}
