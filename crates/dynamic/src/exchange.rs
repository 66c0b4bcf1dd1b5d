//! A call whose messages are all there. They go out as one frame that also ends the request, so such a call
//! is cheaper than one of tonic's client, which reads them from a stream.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Response, Version, header, uri::PathAndQuery};
use http_body_util::Full;
use tonic::{Code, Status, Streaming, body::Body, metadata::MetadataMap};

use crate::{codec::BytesCodec, invoke::BoxError};

/// What the protocol itself says: no caller says it.
const RESERVED: [HeaderName; 5] = [
    header::TE,
    header::CONTENT_TYPE,
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-message-type"),
    HeaderName::from_static("grpc-status"),
];
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The request of a call.
///
/// # Errors
/// `OUT_OF_RANGE` for a message whose length gRPC cannot write.
pub(crate) fn request(
    path: PathAndQuery,
    metadata: MetadataMap,
    messages: &[Bytes],
) -> Result<http::Request<Body>, Status> {
    let size = messages.iter().map(|it| PREFIX + it.len()).sum();
    let mut frame = BytesMut::with_capacity(size);
    for message in messages {
        let length = u32::try_from(message.len()).map_err(|_| {
            let text = format!("a message of {} bytes is too long for gRPC", message.len());
            Status::out_of_range(text)
        })?;
        frame.put_u8(0);
        frame.put_u32(length);
        frame.put_slice(message);
    }
    let mut request = http::Request::new(Body::new(Full::new(frame.freeze())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.into();
    *request.version_mut() = Version::HTTP_2;
    let mut headers = metadata.into_headers();
    if !headers.is_empty() {
        for name in &RESERVED {
            headers.remove(name);
        }
    }
    headers.insert(header::TE, TRAILERS);
    headers.insert(header::CONTENT_TYPE, GRPC);
    *request.headers_mut() = headers;
    Ok(request)
}

/// The messages of an answer, none larger than `max_bytes`.
///
/// # Errors
/// The status of an answer that is no more than that, and `UNIMPLEMENTED` for a compressed one.
pub(crate) fn messages<B>(
    response: Response<B>,
    max_bytes: usize,
) -> Result<Streaming<Bytes>, Status>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let encoding = response.headers().get(ENCODING);
    if let Some(encoding) = encoding.filter(|it| *it != "identity") {
        let text = format!("Content is compressed with {encoding:?} which isn't supported");
        return Err(Status::unimplemented(text));
    }
    let code = response.status();
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => Err(status),
        Some(_) => Ok(Streaming::new_empty(BytesCodec, response.into_body())),
        None => {
            let body = response.into_body();
            let limit = Some(max_bytes);
            Ok(Streaming::new_response(BytesCodec, body, code, None, limit))
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn the_messages_are_one_frame_that_ends_the_request() {
        let mut metadata = MetadataMap::new();
        metadata.insert("x-mesh-caller", "ann".parse().unwrap());
        metadata.insert("te", "gzip".parse().unwrap());
        let path = PathAndQuery::from_static("/a.B/C");
        let both = [Bytes::from_static(b"ab"), Bytes::new()];
        let request = request(path, metadata, &both).unwrap();
        assert_eq!(request.uri().path(), "/a.B/C");
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["x-mesh-caller"], "ann");
        let mut body = request.into_body();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, b"\0\0\0\0\x02ab\0\0\0\0\0"[..]);
        assert!(body.is_end_stream());
    }

    #[tokio::test]
    async fn an_answer_is_its_messages_or_its_status() {
        let answer = |headers: &[(&'static str, &str)], text: &'static [u8]| {
            let mut answer = Response::new(Full::new(Bytes::from_static(text)));
            for (name, value) in headers {
                answer.headers_mut().insert(*name, value.parse().unwrap());
            }
            messages(answer, 100)
        };
        let mut read = answer(&[], b"\0\0\0\0\x02ab").unwrap();
        assert_eq!(read.message().await.unwrap().unwrap(), "ab");
        let code = |headers: &[(&'static str, &str)]| answer(headers, b"").unwrap_err().code();
        assert_eq!(code(&[("grpc-status", "5")]), Code::NotFound);
        assert_eq!(code(&[("grpc-encoding", "gzip")]), Code::Unimplemented);
        let mut none = answer(&[("grpc-status", "0")], b"").unwrap();
        assert!(none.message().await.unwrap().is_none());
        let mut large = answer(&[], b"\0\0\0\0\x65").unwrap();
        assert_eq!(large.message().await.unwrap_err().code(), Code::OutOfRange);
    }
}
