//! The metadata of a request besides its service: method, idempotency, pinned instance. Checks it too.

use std::sync::Arc;

use http::HeaderName;
use mesh_relay::{
    hpack::{Block, Token},
    timeout,
};
use proto::error_info::{self, Reason};
use telemetry::rpc::{Method, ServerCalls};
use tonic::{Code, Status};

use super::head::RequestHead;

/// The service that a call is for: a Consul name or a public id.
pub(crate) const SERVICE: &str = "x-mesh-service";
/// The session of a call whose messages carry none.
pub(crate) const SESSION: &str = "x-mesh-session";
/// In a request the only instance that may take it, in an answer the instance that was picked.
pub(crate) const INSTANCE: HeaderName = HeaderName::from_static("x-mesh-instance");
/// The caller declares that the call may run twice.
const IDEMPOTENT: &str = "x-mesh-idempotent";

/// Fields of a request that are not forwarded. A pinned instance concerns this router only, since the
/// instance may call others itself. The others are set by programs of the mesh, and whoever gets them
/// would believe a client that sets them.
const INTERNAL_FIELDS: [&str; 4] = [
    "x-mesh-instance",
    "x-mesh-caller",
    "x-mesh-job",
    HEDGED_CALL,
];

/// Names a hedged call to the router's local backend.
pub(crate) const HEDGED_CALL: &str = "x-mesh-hedged-call";

/// The metadata of a request besides its service.
pub(crate) struct RequestMetadata {
    pub(crate) method: Method,
    /// The caller declares that the call may run twice.
    pub(crate) idempotent: bool,
    /// The only instance that may take the call.
    pub(crate) pinned: Option<Arc<str>>,
}

impl RequestMetadata {
    /// Of a head that [`validate`] accepts.
    pub(crate) fn of(head: RequestHead<'_>, calls: &ServerCalls) -> Self {
        // An empty value names no instance.
        let pinned = metadata_text(head, INSTANCE.as_str()).ok().flatten();
        Self {
            method: calls.method(head.path()),
            idempotent: head.metadata(IDEMPOTENT).is_some(),
            pinned: pinned.map(Into::into),
        }
    }
}

/// Whether a field of a request is forwarded to the instance.
pub(crate) fn is_forwarded(field: &[u8]) -> bool {
    !INTERNAL_FIELDS.iter().any(|name| name.as_bytes() == field)
}

/// Rejects a request whose head no call may have.
///
/// # Errors
/// `INVALID_ARGUMENT` for an `x-mesh-instance` that is not text, and a malformed `grpc-timeout`.
pub(crate) fn validate(request: &Block) -> Result<(), Status> {
    if request.has_mesh_fields() {
        metadata_text(RequestHead::new(request), INSTANCE.as_str())?;
    }
    match request.get(Token::GrpcTimeout) {
        Some(field) if timeout::read(field.value).is_none() => {
            let message = "grpc-timeout is not up to 8 digits and a unit of H, M, S, m, u or n";
            Err(bad_metadata("grpc-timeout", message))
        }
        _ => Ok(()),
    }
}

/// A metadata value, when there is one and it is not empty.
///
/// # Errors
/// `INVALID_ARGUMENT` when it is not visible ASCII.
pub(crate) fn metadata_text<'a>(
    head: RequestHead<'a>,
    key: &str,
) -> Result<Option<&'a str>, Status> {
    let Some(value) = head.metadata(key) else {
        return Ok(None);
    };
    let is_visible = value.iter().all(|b| matches!(b, b' '..=b'~' | b'\t'));
    let text = std::str::from_utf8(value)
        .ok()
        .filter(|_| is_visible)
        .ok_or_else(|| bad_metadata(key, &format!("metadata {key} is not text")))?;
    Ok((!text.is_empty()).then_some(text))
}

fn bad_metadata(key: &str, message: &str) -> Status {
    let facts = [("field", key.to_owned())];
    error_info::status(Code::InvalidArgument, Reason::BadMetadata, message, facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_pinned_by_text_and_by_nothing_else() {
        let calls = ServerCalls::new(&telemetry::MetricsRegistry::new(), "");
        // The value, whether the request is valid, and which instance it is pinned to.
        for (value, valid, pinned) in [
            (None, true, None),
            (Some(&b""[..]), true, None),
            (Some(b"echo-1"), true, Some("echo-1")),
            (Some("b\u{fc}cher".as_bytes()), false, None),
            (Some(b"a\xff"), false, None),
        ] {
            let mut block = Block::new();
            block.push(b":path", b"/t.S/M");
            if let Some(value) = value {
                block.push(INSTANCE.as_str().as_bytes(), value);
            }
            assert_eq!(validate(&block).is_ok(), valid, "{value:?}");
            let metadata = RequestMetadata::of(RequestHead::new(&block), &calls);
            assert_eq!(metadata.pinned.as_deref(), pinned, "{value:?}");
        }
    }

    #[test]
    fn a_malformed_timeout_is_rejected() {
        for (value, valid) in [
            ("1S", true),
            ("99999999H", true),
            ("1s", false),
            ("", false),
        ] {
            let mut block = Block::new();
            block.push(b"grpc-timeout", value.as_bytes());
            let outcome = validate(&block);
            assert_eq!(outcome.is_ok(), valid, "{value:?}");
            if let Err(status) = outcome {
                assert_eq!(status.code(), Code::InvalidArgument);
            }
        }
    }

    #[test]
    fn fields_of_the_router_are_not_forwarded() {
        for (field, forwarded) in [
            ("x-mesh-instance", false),
            ("x-mesh-caller", false),
            ("x-mesh-job", false),
            ("x-mesh-hedged-call", false),
            ("x-mesh-service", true),
            ("x-mesh-other", true),
        ] {
            assert_eq!(is_forwarded(field.as_bytes()), forwarded, "{field}");
        }
    }
}
