//! Reads whom a request is for out of its bytes while they stream by.
//!
//! Sans-IO and incremental: [`Scanner::feed`] takes the body's DATA in any split, keeps nothing but
//! the captured strings, and says the id as soon as its field is complete, wherever in the message
//! it stands. The bytes themselves are forwarded by the caller as they came.

mod captured;
mod error;
mod inspector;
mod wire;

use std::mem;

use proto::frame::{FrameReader, Header, Piece};

pub use captured::{Fields, MAX_CAPTURED_BYTES};
pub use error::ScanError;
pub(crate) use inspector::Inspector;

use captured::Captured;
use wire::Wire;

use crate::compression::{Encoding, Inflate};

/// What is known after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The first message goes on, and its id has not come yet.
    Reading,
    /// The id is known ([`Scanner::id`]); the first message goes on.
    Identified,
    /// The first message is complete, and its id is known.
    Complete,
    /// The first message is complete and names nobody: its id is absent or empty.
    Missing,
}

/// Scans the first message of a request for its routing fields, and meters every message.
#[derive(Debug)]
pub struct Scanner {
    frames: FrameReader,
    max_message_bytes: u64,
    encoding: Option<String>,
    state: State,
    failed: Option<ScanError>,
}

/// Where in the first message we are; what was captured travels along.
#[derive(Debug)]
enum State {
    Before(Captured),
    Plain(Wire),
    Compressed(Box<Inflate<Wire>>),
    After(Captured),
    /// Only while a step is under way, and after an error.
    Taken,
}

impl Scanner {
    /// A scanner for a message with these fields, without a limit on message sizes.
    #[must_use]
    pub fn new(fields: &'static Fields) -> Self {
        Self {
            frames: FrameReader::new(u64::MAX),
            max_message_bytes: u64::MAX,
            encoding: None,
            state: State::Before(Captured::new(fields)),
            failed: None,
        }
    }

    /// Limits every message to this many bytes: what the frame's header announces, and what a
    /// compressed first message holds when decompressed.
    #[must_use]
    pub fn max_message_bytes(mut self, max: u64) -> Self {
        self.max_message_bytes = max;
        self.frames = FrameReader::new(max);
        self
    }

    /// How compressed messages are compressed: the request's `grpc-encoding`.
    #[must_use]
    pub fn encoding(mut self, grpc_encoding: Option<&str>) -> Self {
        self.encoding = grpc_encoding.map(str::to_owned);
        self
    }

    /// Takes the next bytes of the request's body.
    ///
    /// # Errors
    /// As soon as the bytes show it: a message over the limit, a second and different id, or bytes
    /// that are no such message. After an error every further call repeats it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Progress, ScanError> {
        self.guarded(|scanner| scanner.advance(bytes))
    }

    /// The request's body has ended.
    ///
    /// # Errors
    /// When it ended inside a message, or before the first one.
    pub fn finish(&mut self) -> Result<Progress, ScanError> {
        self.guarded(|scanner| {
            if !scanner.frames.is_between_messages() {
                return Err(ScanError::malformed("the request ends inside a message"));
            }
            if matches!(scanner.state, State::Before(_)) {
                return Err(ScanError::malformed("the request has no message"));
            }
            Ok(())
        })
    }

    /// Takes the next bytes of the request's body, `end` with the last.
    ///
    /// # Errors
    /// As [`Self::feed`] and [`Self::finish`].
    pub fn read(&mut self, bytes: &[u8], end: bool) -> Result<Progress, ScanError> {
        let progress = self.feed(bytes)?;
        if end { self.finish() } else { Ok(progress) }
    }

    /// The id, once its field is complete; never empty.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.captured()?.id()
    }

    /// The session, once its field is complete; never empty. As protobuf has it, the last one
    /// counts.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.captured()?.session()
    }

    /// The task's id, once its field is complete; never empty. The last one counts.
    #[must_use]
    pub fn task(&self) -> Option<&str> {
        self.captured()?.task()
    }

    fn captured(&self) -> Option<&Captured> {
        match &self.state {
            State::Before(captured) | State::After(captured) => Some(captured),
            State::Plain(wire) => Some(wire.captured()),
            State::Compressed(inflate) => Some(inflate.sink().captured()),
            State::Taken => None,
        }
    }

    fn guarded(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), ScanError>,
    ) -> Result<Progress, ScanError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match step(self) {
            Ok(()) => Ok(self.progress()),
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    fn progress(&self) -> Progress {
        match (&self.state, self.id().is_some()) {
            (State::After(_), true) => Progress::Complete,
            (State::After(_), false) => Progress::Missing,
            (_, true) => Progress::Identified,
            (_, false) => Progress::Reading,
        }
    }

    fn advance(&mut self, mut bytes: &[u8]) -> Result<(), ScanError> {
        while let Some(piece) = self.frames.step(&mut bytes)? {
            match piece {
                Piece::Start(Header { flags, length }) => self.start(flags, length)?,
                Piece::Bytes(part) => match &mut self.state {
                    State::Plain(wire) => wire.feed(part)?,
                    State::Compressed(inflate) => inflate.feed(part)?,
                    State::Before(_) | State::After(_) | State::Taken => {}
                },
                Piece::End => self.end()?,
            }
        }
        Ok(())
    }

    fn start(&mut self, flag: u8, length: u32) -> Result<(), ScanError> {
        let captured = match mem::replace(&mut self.state, State::Taken) {
            State::Before(captured) => captured,
            later => {
                self.state = later;
                return Ok(());
            }
        };
        self.state = match flag {
            0 => State::Plain(Wire::new(captured, Some(length.into()))),
            1 => {
                let encoding = Encoding::of(self.encoding.as_deref())?;
                let wire = Wire::new(captured, None);
                State::Compressed(Box::new(Inflate::new(
                    encoding,
                    self.max_message_bytes,
                    wire,
                )))
            }
            _ => {
                return Err(ScanError::malformed(
                    "the frame's compressed flag is neither 0 nor 1",
                ));
            }
        };
        Ok(())
    }

    fn end(&mut self) -> Result<(), ScanError> {
        self.state = match mem::replace(&mut self.state, State::Taken) {
            State::Plain(wire) => State::After(wire.finish()?),
            State::Compressed(inflate) => State::After(inflate.finish()?.finish()?),
            later => later,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
