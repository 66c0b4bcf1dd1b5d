//! What can be wrong with a request's bytes, and the status that says so.

use std::borrow::Cow;

use proto::{
    error_info::{self, Reason},
    frame::TooLarge,
};
use tonic::{Code, Status, metadata::MetadataValue};

/// Why a request's bytes cannot be forwarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// A message is over the limit `max_message_bytes`.
    #[error("message of {size} bytes is over max_message_bytes, {max}")]
    TooLarge {
        /// Its size in bytes, as far as it is known: a compressed one is cut off at the limit.
        size: u64,
        /// The limit, bytes.
        max: u64,
    },
    /// The id is there twice, and differs.
    #[error("{field} is there twice: first {first:?}, then {second:?}")]
    Conflict {
        /// The id's field.
        field: &'static str,
        /// The one the call was routed by.
        first: String,
        /// The other one.
        second: String,
    },
    /// The bytes are not the message.
    #[error("the request is not the message: {reason}")]
    Malformed {
        /// What is wrong.
        reason: Cow<'static, str>,
    },
    /// The message is compressed in a way we cannot read.
    #[error("grpc-encoding {name:?} is not known here: use gzip, deflate or none")]
    Encoding {
        /// The request's `grpc-encoding`.
        name: String,
    },
}

impl From<TooLarge> for ScanError {
    fn from(TooLarge { size, max }: TooLarge) -> Self {
        Self::TooLarge { size, max }
    }
}

impl ScanError {
    pub(crate) fn malformed(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Malformed {
            reason: reason.into(),
        }
    }

    /// The status that ends the call. For [`Self::Encoding`], gRPC wants `grpc-accept-encoding`
    /// beside it: it is in the status's metadata.
    #[must_use]
    pub fn status(&self) -> Status {
        let text = str::to_owned;
        let (code, reason, facts) = match self {
            Self::TooLarge { size, max } => {
                let key = ("key", text("max_message_bytes"));
                let facts = vec![key, ("limit", max.to_string()), ("size", size.to_string())];
                (Code::ResourceExhausted, Reason::MessageTooLarge, facts)
            }
            Self::Conflict {
                field,
                first,
                second,
            } => {
                let facts = [("field", *field), ("first", first), ("second", second)];
                let facts = facts.map(|(key, value)| (key, text(value))).to_vec();
                (Code::InvalidArgument, Reason::ConflictingId, facts)
            }
            Self::Malformed { .. } => (Code::InvalidArgument, Reason::MalformedMessage, Vec::new()),
            Self::Encoding { name } => {
                let facts = vec![("encoding", name.clone())];
                (Code::Unimplemented, Reason::UnknownEncoding, facts)
            }
        };
        let mut status = error_info::status(code, reason, self.to_string(), facts);
        if let Self::Encoding { .. } = self {
            let known = MetadataValue::from_static("identity,gzip,deflate");
            status.metadata_mut().insert("grpc-accept-encoding", known);
        }
        status
    }
}
