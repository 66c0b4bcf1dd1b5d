//! Errors of the mesh: a gRPC status with `google.rpc.ErrorInfo` in its details. A program reads
//! the reason, a person the message.
//!
//! ```
//! use mesh_proto::error_info::{Reason, reason, status};
//! use tonic::Code;
//!
//! let id = ("id", "echo".to_owned());
//! let status = status(Code::NotFound, Reason::NoSuchService, "no service is called \"echo\"", [id]);
//! assert_eq!(reason(&status), Some(Reason::NoSuchService));
//! ```

use std::{collections::HashMap, time::Duration};

use prost::Message as _;
use tonic::{Code, Status, metadata::MetadataMap};

pub use crate::reason::Reason;

/// The domain of every `ErrorInfo` of ours.
pub const DOMAIN: &str = "mesh";
/// The key of the metadata that says after how many milliseconds to try again.
pub const RETRY_AFTER: &str = "retry_after_ms";

const TYPE_URL: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// `google.rpc.ErrorInfo`, as googleapis defines it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ErrorInfo {
    /// Why, in `UPPER_SNAKE_CASE`; of the mesh, the word of a [`Reason`].
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Whose error it is; [`DOMAIN`] for the mesh.
    #[prost(string, tag = "2")]
    pub domain: String,
    /// Facts of the reason, such as the configuration key of a limit.
    #[prost(map = "string, string", tag = "3")]
    pub metadata: HashMap<String, String>,
}

/// `google.rpc.Status`: what `grpc-status-details-bin` carries.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// Bytes of a message, and of a fact, at most. They quote what a caller sent several times and
/// encoded, and clients take 8 KiB of metadata by default.
const LONGEST: (usize, usize) = (768, 256);

/// Truncates a text to `most` bytes.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}

/// A status of the mesh with its `ErrorInfo`. Long texts are truncated.
#[must_use]
pub fn status<'a>(
    code: Code,
    reason: Reason,
    message: impl Into<String>,
    metadata: impl IntoIterator<Item = (&'a str, String)>,
) -> Status {
    let message = cut(message.into(), LONGEST.0);
    let info = ErrorInfo {
        reason: reason.as_str().to_owned(),
        domain: DOMAIN.to_owned(),
        metadata: metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), cut(value, LONGEST.1)))
            .collect(),
    };
    let any = prost_types::Any {
        type_url: TYPE_URL.to_owned(),
        value: info.encode_to_vec(),
    };
    let details = RpcStatus {
        code: code.into(),
        message: message.clone(),
        details: vec![any],
    }
    .encode_to_vec();
    Status::with_details_and_metadata(code, message, details.into(), MetadataMap::new())
}

/// The `ErrorInfo` in a status's details; `None` if there is none.
#[must_use]
pub fn read(status: &Status) -> Option<ErrorInfo> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let any = details.into_iter().find(|any| any.type_url == TYPE_URL)?;
    ErrorInfo::decode(any.value.as_slice()).ok()
}

/// Why the mesh refused the call; `None` for a status of a service, and for an unknown reason.
#[must_use]
pub fn reason(status: &Status) -> Option<Reason> {
    let info = read(status).filter(|info| info.domain == DOMAIN)?;
    Reason::parse(&info.reason)
}

/// How long to wait before the next attempt, if the status says so.
#[must_use]
pub fn retry_after(status: &Status) -> Option<Duration> {
    let info = read(status).filter(|info| info.domain == DOMAIN)?;
    let ms = info.metadata.get(RETRY_AFTER)?.parse().ok()?;
    Some(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_carries_its_reason_and_facts() {
        let status = status(
            Code::ResourceExhausted,
            Reason::MessageTooLarge,
            "message of 5 MiB is over the limit",
            [("key", "max_message_bytes".to_owned())],
        );
        let info = read(&status).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(reason(&status), Some(Reason::MessageTooLarge));
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("MESSAGE_TOO_LARGE", "mesh")
        );
        assert_eq!(info.metadata["key"], "max_message_bytes");
    }

    #[test]
    fn what_a_caller_sent_is_not_given_back_many_times_over() {
        for name in ["n".repeat(3000), "ü".repeat(3000)] {
            let message = format!("`{name}` names no service");
            let facts = [("id", name.clone()), ("field", name.clone())];
            let status = status(Code::NotFound, Reason::NoSuchService, message, facts);
            let response = status.into_http::<()>();
            let fields = response.headers().iter();
            let size: usize = fields
                .map(|(name, value)| name.as_str().len() + value.len() + 32)
                .sum();
            assert!(size < 8 * 1024, "{size} bytes");
        }
    }

    #[test]
    fn foreign_details_are_not_mistaken_for_ours() {
        let status = Status::with_details(Code::Internal, "x", vec![0xff, 0x01].into());
        assert_eq!((read(&status), reason(&status)), (None, None));
    }
}
