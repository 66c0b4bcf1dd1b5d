//! What an HTTP answer without `grpc-status` means to a gRPC call: the page of a proxy in front of
//! a dead process, or of a server that does not speak gRPC.

use tonic::Code;

/// gRPC's mapping of HTTP status codes, for answers without a `grpc-status`.
pub(crate) fn http_code(status: u16) -> Code {
    match status {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        // gRPC does not map it. HTTP/2 servers send it for metadata over their limit.
        431 => Code::ResourceExhausted,
        _ => Code::Unknown,
    }
}

/// Whether such an answer shows that the instance fails. One about this request alone does not.
pub(crate) fn is_failure(status: u16) -> bool {
    !(400..500).contains(&status) || status == 429
}

/// Whether an answer is not gRPC's: by its content type, and without `grpc-status`. An answer
/// without a content type is left to the caller.
pub(crate) fn is_foreign<B>(response: &http::Response<B>) -> bool {
    let headers = response.headers();
    let content_type = headers.get(http::header::CONTENT_TYPE);
    let foreign = response.status() != http::StatusCode::OK
        || content_type.is_some_and(|value| !is_grpc(value.as_bytes()));
    foreign && !headers.contains_key("grpc-status")
}

/// The size of a list of fields, as HTTP/2 counts it.
pub(crate) fn list_size(headers: &http::HeaderMap) -> usize {
    let size = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + 32
    };
    headers.iter().map(size).sum()
}

/// Whether a content type is gRPC's.
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    content_type.starts_with(b"application/grpc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_statuses_are_mapped_as_grpc_has_it() {
        let table = [
            (200, Code::Unknown),
            (302, Code::Unknown),
            (400, Code::Internal),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::Unimplemented),
            (418, Code::Unknown),
            (429, Code::Unavailable),
            (431, Code::ResourceExhausted),
            (500, Code::Unknown),
            (502, Code::Unavailable),
            (503, Code::Unavailable),
            (504, Code::Unavailable),
            (505, Code::Unknown),
        ];
        for (status, code) in table {
            assert_eq!(http_code(status), code, "{status}");
        }
    }

    #[test]
    fn what_one_request_may_have_deserved_is_not_held_against_an_instance() {
        assert!([200, 302, 429, 500, 503].into_iter().all(is_failure));
        assert!(![400, 401, 403, 404, 431].into_iter().any(is_failure));
    }
}
