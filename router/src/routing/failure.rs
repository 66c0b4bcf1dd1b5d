//! The status that a caller gets for a call that failed.

use channel::Error;
use mesh_relay::{Cause, Failure};
use proto::error_info::{self, Reason};
use tonic::{Code, Status};

/// The status of a call that ended because of a limit; `None` for any other cause. `instance` has the
/// call. A limit is not the instance's fault.
pub(crate) fn limit_status(
    cause: Cause,
    instance: Option<&str>,
    max_header_bytes: usize,
) -> Option<Status> {
    let instance = instance.unwrap_or("the router");
    Some(match cause {
        Cause::Memory => error_info::status(
            Code::ResourceExhausted,
            Reason::Limit,
            "the client's calls keep too much memory here: they are not read, or wait for an instance",
            [("key", "client_memory".to_owned())],
        ),
        Cause::HeaderList => {
            let message = format!("the metadata is larger than {instance} takes");
            metadata_limit(message, None)
        }
        Cause::LargeRequest => oversized_metadata("the request's trailers", max_header_bytes),
        Cause::LargeAnswer => {
            let what = format!("the metadata of {instance}'s answer");
            oversized_metadata(&what, max_header_bytes)
        }
        Cause::LargeForClient(limit) => metadata_limit(
            format!(
                "the metadata of {instance}'s answer is larger than the {limit} bytes that the client takes"
            ),
            Some(limit as usize),
        ),
        _ => return None,
    })
}

/// The status of a call with more metadata than `max_header_bytes`.
pub(crate) fn oversized_metadata(what: &str, limit: usize) -> Status {
    let message = format!("{what} is larger than max_header_bytes, {limit} bytes");
    metadata_limit(message, Some(limit))
}

fn metadata_limit(message: String, limit: Option<usize>) -> Status {
    let mut facts = vec![("key", "max_header_bytes".to_owned())];
    facts.extend(limit.map(|limit| ("limit", limit.to_string())));
    error_info::status(Code::ResourceExhausted, Reason::Limit, message, facts)
}

/// The error of an attempt that failed on this instance.
pub(crate) fn attempt_error(instance: String, failure: Failure) -> Error {
    let reason = failure.cause.to_string();
    if let Cause::Http(status) = failure.cause {
        return Error::Http { instance, status };
    }
    if failure.unsent {
        return Error::Unsent { instance, reason };
    }
    Error::ConnectionLost {
        instance,
        reason,
        code: code(failure.cause),
    }
}

/// gRPC's mapping of HTTP/2 error codes, and ours of the rest.
fn code(cause: Cause) -> Code {
    match cause {
        Cause::Connect | Cause::Lost | Cause::Declined | Cause::Http(_) | Cause::Reset(0x7) => {
            Code::Unavailable
        }
        Cause::Reset(0x8) => Code::Cancelled,
        Cause::Reset(0xb)
        | Cause::Memory
        | Cause::HeaderList
        | Cause::LargeRequest
        | Cause::LargeAnswer
        | Cause::LargeForClient(_) => Code::ResourceExhausted,
        Cause::Reset(0xc) => Code::PermissionDenied,
        Cause::Reset(_) | Cause::Malformed(_) => Code::Internal,
        Cause::Deadline => Code::DeadlineExceeded,
    }
}

#[cfg(test)]
mod tests {
    use mesh_relay::frame::ErrorCode;

    use super::*;

    fn status_of(cause: Cause, unsent: bool) -> Status {
        let failure = Failure {
            unsent,
            repeatable: true,
            cause,
        };
        attempt_error("echo-1".to_owned(), failure).status()
    }

    #[test]
    fn each_cause_has_the_status_that_grpc_gives_it() {
        for (cause, expected) in [
            (Cause::Connect, Code::Unavailable),
            (Cause::Lost, Code::Unavailable),
            (Cause::Declined, Code::Unavailable),
            (Cause::Reset(0x0), Code::Internal),
            (Cause::Reset(0x2), Code::Internal),
            (Cause::Reset(0x7), Code::Unavailable),
            (Cause::Reset(0x8), Code::Cancelled),
            (Cause::Reset(0xb), Code::ResourceExhausted),
            (Cause::Reset(0xc), Code::PermissionDenied),
            (Cause::Malformed(ErrorCode::ProtocolError), Code::Internal),
            (Cause::Http(404), Code::Unimplemented),
            (Cause::Http(503), Code::Unavailable),
            (Cause::Memory, Code::ResourceExhausted),
            (Cause::Deadline, Code::DeadlineExceeded),
        ] {
            assert_eq!(status_of(cause, false).code(), expected, "{cause:?}");
        }
        for cause in [Cause::Connect, Cause::Lost, Cause::Reset(0x7)] {
            assert_eq!(
                status_of(cause, true).code(),
                Code::Unavailable,
                "{cause:?}"
            );
        }
    }

    #[test]
    fn a_limit_is_named_with_its_key() {
        for (cause, key, expected) in [
            (Cause::Memory, "client_memory", None),
            (Cause::HeaderList, "max_header_bytes", None),
            (Cause::LargeRequest, "max_header_bytes", Some("64")),
            (Cause::LargeAnswer, "max_header_bytes", Some("64")),
            (Cause::LargeForClient(16), "max_header_bytes", Some("16")),
        ] {
            let status = limit_status(cause, Some("echo-1"), 64).unwrap();
            assert_eq!(status.code(), Code::ResourceExhausted, "{cause:?}");
            let info = error_info::read(&status).unwrap();
            assert_eq!(info.metadata["key"], key, "{cause:?}");
            let limit = info.metadata.get("limit").map(String::as_str);
            assert_eq!(limit, expected, "{cause:?}");
        }
        assert!(limit_status(Cause::Lost, None, 64).is_none());
    }
}
