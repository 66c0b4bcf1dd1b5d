//! What a connection says, step by step, and what ends it.

use crate::{frame::ErrorCode, settings::Settings};

/// What ends a connection: the code of its GOAWAY, and a word for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({code:?})")]
pub struct ConnectionError {
    /// The code to send.
    pub code: ErrorCode,
    /// What was wrong.
    pub reason: &'static str,
}

impl ConnectionError {
    pub(crate) const fn new(code: ErrorCode, reason: &'static str) -> Self {
        Self { code, reason }
    }

    pub(crate) const fn protocol(reason: &'static str) -> Self {
        Self::new(ErrorCode::ProtocolError, reason)
    }

    pub(crate) const fn frame_size(reason: &'static str) -> Self {
        Self::new(ErrorCode::FrameSizeError, reason)
    }

    pub(crate) const fn flow_control(reason: &'static str) -> Self {
        Self::new(ErrorCode::FlowControlError, reason)
    }

    /// The peer costs more work than it brings.
    pub(crate) const fn calm(reason: &'static str) -> Self {
        Self::new(ErrorCode::EnhanceYourCalm, reason)
    }
}

/// The next thing a connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A client's preface is complete.
    Preface,
    /// A header block, in [`Parser::block`].
    Headers {
        /// Its stream.
        stream: u32,
        /// The last of its stream.
        end_stream: bool,
        /// The stream it says to depend on, which must not be itself.
        depends_on: Option<u32>,
    },
    /// A DATA frame begins: its whole payload, padding too, counts for flow control.
    DataBegin {
        /// Its stream.
        stream: u32,
        /// Its payload's length.
        length: usize,
        /// How much of that is padding, with its length byte.
        padding: usize,
        /// The last of its stream.
        end_stream: bool,
    },
    /// Bytes of the DATA frame that began.
    Data {
        /// Its stream.
        stream: u32,
        /// Some of its bytes, never none.
        bytes: &'a [u8],
        /// The last bytes of the stream: [`Event::DataEnd`] only confirms it.
        last: bool,
    },
    /// The DATA frame is complete.
    DataEnd {
        /// Its stream.
        stream: u32,
        /// The last of its stream.
        end_stream: bool,
    },
    /// RST_STREAM.
    Reset {
        /// Its stream.
        stream: u32,
        /// The peer's error code.
        code: u32,
    },
    /// SETTINGS of the peer: what holds from now on.
    Settings(Settings),
    /// The peer has taken over our SETTINGS.
    SettingsAck,
    /// PING, to be answered.
    Ping([u8; 8]),
    /// The answer to a PING.
    Pong,
    /// The peer goes away.
    GoAway {
        /// The last stream it has processed or will.
        last: u32,
        /// Its error code.
        code: u32,
    },
    /// More may be sent; 0 is a mistake of the peer's.
    WindowUpdate {
        /// Its stream; 0 is the connection.
        stream: u32,
        /// How many bytes more.
        credit: u32,
    },
    /// A frame of a kind that is not known, which is ignored.
    Unknown,
    /// PRIORITY, which is ignored but must not name itself or have a wrong length.
    Priority {
        /// Its stream.
        stream: u32,
        /// Whether it is well formed.
        valid: Result<(), ErrorCode>,
    },
}
