//! Decompresses a copy of a message as it streams by, so that its id can be read.

use std::io::{self, Write};

use flate2::write::{GzDecoder, ZlibDecoder};

use crate::scanner::ScanError;

/// The message encodings of gRPC that are read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    /// gRPC's word for the zlib format of RFC 1950.
    Deflate,
}

impl Encoding {
    /// The encoding that a request's `grpc-encoding` names.
    ///
    /// # Errors
    /// When it names none, though the message is compressed, or one that is not known.
    pub(crate) fn of(grpc_encoding: Option<&str>) -> Result<Self, ScanError> {
        match grpc_encoding {
            Some("gzip") => Ok(Self::Gzip),
            Some("deflate") => Ok(Self::Deflate),
            None | Some("" | "identity") => Err(ScanError::malformed(
                "the message is compressed, and grpc-encoding names none",
            )),
            Some(name) => Err(ScanError::Encoding {
                name: name.to_owned(),
            }),
        }
    }
}

/// Takes what comes out of a compressed message.
pub(crate) trait Sink: std::fmt::Debug {
    /// Takes the next bytes.
    fn take(&mut self, bytes: &[u8]) -> Result<(), ScanError>;
}

/// A decompressor: a fixed window, whatever the message's size.
#[derive(Debug)]
pub(crate) enum Inflate<S: Sink> {
    Gzip(GzDecoder<Bounded<S>>),
    Deflate(ZlibDecoder<Bounded<S>>),
}

/// Does the same with either decoder.
macro_rules! either {
    ($inflate:expr, $decoder:ident => $do:expr) => {
        match $inflate {
            Inflate::Gzip($decoder) => $do,
            Inflate::Deflate($decoder) => $do,
        }
    };
}

/// Lets at most so many bytes through: a bomb ends here.
#[derive(Debug)]
pub(crate) struct Bounded<S> {
    sink: S,
    passed: u64,
    max: u64,
    failed: Option<ScanError>,
}

impl<S: Sink> Inflate<S> {
    /// Decompresses into `sink`, at most `max` bytes.
    pub(crate) fn new(encoding: Encoding, max: u64, sink: S) -> Self {
        let sink = Bounded {
            sink,
            passed: 0,
            max,
            failed: None,
        };
        match encoding {
            Encoding::Gzip => Self::Gzip(GzDecoder::new(sink)),
            Encoding::Deflate => Self::Deflate(ZlibDecoder::new(sink)),
        }
    }

    /// Takes the next compressed bytes, and passes on everything they give.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), ScanError> {
        // A flush, since the decoder otherwise keeps its last 32 KiB, and the id, to itself.
        let done =
            either!(self, decoder => decoder.write_all(bytes).and_then(|()| decoder.flush()));
        done.map_err(|error| self.reason(&error))
    }

    /// The compressed message is complete.
    pub(crate) fn finish(mut self) -> Result<S, ScanError> {
        if let Err(error) = either!(&mut self, decoder => decoder.try_finish()) {
            return Err(self.reason(&error));
        }
        match either!(self, decoder => decoder.finish()) {
            Ok(bounded) => Ok(bounded.sink),
            Err(error) => Err(corrupt(&error)),
        }
    }

    /// Where the bytes go.
    pub(crate) fn sink(&self) -> &S {
        either!(self, decoder => &decoder.get_ref().sink)
    }

    fn reason(&mut self, error: &io::Error) -> ScanError {
        let bounded = either!(self, decoder => decoder.get_mut());
        bounded.failed.take().unwrap_or_else(|| corrupt(error))
    }
}

fn corrupt(error: &io::Error) -> ScanError {
    match error.kind() {
        io::ErrorKind::WriteZero => {
            ScanError::malformed("bytes follow the end of the compressed data")
        }
        _ => ScanError::malformed(format!("the compressed data is damaged: {error}")),
    }
}

impl<S: Sink> Write for Bounded<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let passed = self.passed.saturating_add(bytes.len() as u64);
        let taken = if passed > self.max {
            Err(ScanError::TooLarge {
                size: passed,
                max: self.max,
            })
        } else {
            self.sink.take(bytes)
        };
        self.passed = passed;
        taken.map(|()| bytes.len()).map_err(|error| {
            self.failed = Some(error);
            io::ErrorKind::Other.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
