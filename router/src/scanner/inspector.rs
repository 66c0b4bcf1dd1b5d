//! Looks at the bytes of a request that is on its way.

use proto::frame::FrameReader;

use super::{ScanError, Scanner};

/// What looks at the bytes.
#[derive(Debug)]
pub(crate) enum Inspector {
    /// Message sizes only.
    Meter(FrameReader),
    /// The routing fields of the first message, and message sizes.
    Scan(Box<Scanner>),
}

impl Inspector {
    /// Takes the next bytes, `end` with the last.
    ///
    /// # Errors
    /// As [`FrameReader::feed`] and [`Scanner::read`].
    pub(crate) fn read(&mut self, bytes: &[u8], end: bool) -> Result<(), ScanError> {
        match self {
            // What an instance makes of half a message is its own business.
            Self::Meter(frames) => Ok(frames.feed(bytes)?),
            Self::Scan(scanner) => scanner.read(bytes, end).map(drop),
        }
    }

    /// The id of the task that the request carries, where it is one.
    pub(crate) fn task(&self) -> Option<&str> {
        match self {
            Self::Meter(_) => None,
            Self::Scan(scanner) => scanner.task(),
        }
    }
}
