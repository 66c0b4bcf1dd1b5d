//! Whether a failed call may be sent again. Typed, so that no call runs twice by accident.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tonic::Code;

use crate::{Error, http_status::http_code};

/// By this header, whatever its value, a caller says that a request may run twice.
pub(crate) const IDEMPOTENT: &str = "x-mesh-idempotent";

/// The header that tells an instance how many attempts of a call there were before this one.
pub const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";

/// What an instance says about retries, in an answer that is only a status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pushback {
    /// Nothing.
    #[default]
    None,
    /// Retry after this time.
    Wait(Duration),
    /// Do not retry.
    Stop,
}

impl Pushback {
    /// Its header (gRPC A6).
    pub const HEADER: &str = "grpc-retry-pushback-ms";

    /// By the header's value. Anything but milliseconds ≥ 0 means stop.
    #[must_use]
    pub fn read(value: Option<&[u8]>) -> Self {
        let Some(value) = value else {
            return Self::None;
        };
        let text = std::str::from_utf8(value).unwrap_or_default();
        // 32 bits, as in other implementations.
        match text.parse::<i32>().map(u64::try_from) {
            Ok(Ok(ms)) => Self::Wait(Duration::from_millis(ms)),
            _ => Self::Stop,
        }
    }

    /// By an answer's headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self::read(headers.get(Self::HEADER).map(HeaderValue::as_bytes))
    }
}

/// When another attempt is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// A retry cannot help, or the call is over.
    Never,
    /// No instance has processed the call: a retry is always safe.
    IfUnsent,
    /// The call may have run: retry only if it is declared idempotent.
    IfIdempotent,
}

/// Whether a call may be retried after this error.
pub(crate) fn of_error(error: &Error) -> Retry {
    match error {
        Error::Unsent { .. } => Retry::IfUnsent,
        Error::ConnectionLost {
            code: Code::Unavailable | Code::Internal,
            ..
        } => Retry::IfIdempotent,
        Error::Http { status, .. } => of_status(http_code(*status)),
        // The others have already waited for an instance, are the caller's own, or are final.
        Error::ConnectionLost { .. }
        | Error::Undiscovered { .. }
        | Error::NoInstance { .. }
        | Error::NoSuchInstance { .. }
        | Error::Unreachable { .. }
        | Error::Saturated { .. }
        | Error::Exhausted(_)
        | Error::LargeAnswer { .. }
        | Error::Deadline(_)
        | Error::Request(_)
        | Error::Timeout(_) => Retry::Never,
    }
}

/// Whether a call may be retried after this status. `UNAVAILABLE` asks for a retry.
pub(crate) fn of_status(code: Code) -> Retry {
    if code == Code::Unavailable {
        Retry::IfIdempotent
    } else {
        Retry::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pushback_is_milliseconds_or_stop() {
        let read = |text: &str| Pushback::read(Some(text.as_bytes()));
        assert_eq!(Pushback::read(None), Pushback::None);
        assert_eq!(read("0"), Pushback::Wait(Duration::ZERO));
        assert_eq!(read("250"), Pushback::Wait(Duration::from_millis(250)));
        for stop in ["-1", "", "soon", "1.5", "99999999999", "\u{fc}"] {
            assert_eq!(read(stop), Pushback::Stop, "{stop}");
        }
    }
}
