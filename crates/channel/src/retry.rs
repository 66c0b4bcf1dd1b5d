//! Whether a call that failed may be sent again. Typed, so that no call runs twice by accident.

use tonic::Code;

use crate::Error;

/// A request with this header, whatever its value, may run twice: its caller says so.
pub(crate) const IDEMPOTENT: &str = "x-mesh-idempotent";

/// When another attempt is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Another attempt cannot help, or nobody asked for it.
    Never,
    /// No instance has processed the call: always safe.
    IfUnsent,
    /// The call may have run: only where it is declared idempotent.
    IfIdempotent,
}

/// What an attempt without an answer allows.
pub(crate) fn of_error(error: &Error) -> Retry {
    match error {
        Error::Unsent { .. } => Retry::IfUnsent,
        Error::Broken {
            code: Code::Unavailable | Code::Internal,
            ..
        } => Retry::IfIdempotent,
        // The others have waited for an instance already, are the caller's own, or are final.
        Error::Broken { .. }
        | Error::Undiscovered(_)
        | Error::NoInstance { .. }
        | Error::NoSuchInstance { .. }
        | Error::Unreachable { .. }
        | Error::Saturated { .. }
        | Error::Deadline(_)
        | Error::Request(_)
        | Error::Timeout(_) => Retry::Never,
    }
}

/// What an instance's own status allows: gRPC's `UNAVAILABLE` asks to be tried again.
pub(crate) fn of_status(code: Code) -> Retry {
    if code == Code::Unavailable {
        Retry::IfIdempotent
    } else {
        Retry::Never
    }
}
