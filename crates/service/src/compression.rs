//! gRPC's gzip for every service. Requests are decompressed within the limit of a message; answers
//! are compressed for callers that accept it.

use std::{
    io::{Read as _, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use proto::{
    error_info::{self, Reason},
    frame::{self, HEADER_BYTES, Header},
};
use tonic::{Code, Status, body::Body};

pub(crate) const ENCODING: &str = "grpc-encoding";
pub(crate) const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
const GZIP: &str = "gzip";
/// Smaller messages are compressed only if the request was: compression costs more than it saves.
const MIN_COMPRESSED: usize = 1024;

/// What a caller's headers say about compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestCoding {
    /// The request's messages may be compressed.
    pub(crate) compressed: bool,
    /// The answer's messages may be compressed.
    pub(crate) accepts: bool,
}

impl RequestCoding {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let is = |name: &str| headers.get(name).is_some_and(|value| value == GZIP);
        let listed = headers
            .get_all(ACCEPT_ENCODING)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|name| name.trim() == GZIP);
        let compressed = is(ENCODING);
        Self {
            compressed,
            accepts: listed || compressed,
        }
    }

    /// Compresses an answer for a caller that accepts it.
    pub(crate) fn answer(self, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        let refused = headers
            .get(Status::GRPC_STATUS)
            .is_some_and(|code| code == "12");
        if refused {
            let taken = HeaderValue::from_static("identity,gzip");
            headers.insert(ACCEPT_ENCODING, taken);
        }
        let has_messages = !headers.contains_key(Status::GRPC_STATUS);
        if !self.accepts || !has_messages || headers.contains_key(ENCODING) {
            return response;
        }
        headers.insert(ENCODING, HeaderValue::from_static(GZIP));
        let least = if self.compressed { 1 } else { MIN_COMPRESSED };
        response.map(|body| {
            Body::new(GzipBody {
                body,
                least,
                held: BytesMut::new(),
                rest: None,
            })
        })
    }
}

/// Takes the complete frames out of `held` and decompresses their messages.
pub(crate) fn inflate(held: &mut BytesMut, limit: usize) -> Result<Bytes, Status> {
    let mut out = BytesMut::new();
    while let Some((header, message)) = frame::first(held) {
        let length = header.length as usize;
        if length > limit {
            return Err(message_too_large(length as u64, limit));
        }
        let Some(message) = message else { break };
        if header.flags & 1 == 0 {
            put_frame(&mut out, 0, message);
        } else {
            put_frame(&mut out, 0, &gunzip(message, limit)?);
        }
        held.advance(HEADER_BYTES + length);
    }
    Ok(out.freeze())
}

/// The status for a message over the limit.
pub(crate) fn message_too_large(size: u64, limit: usize) -> Status {
    let message = format!("a message of {size} bytes is over max_message_bytes = {limit}");
    let facts = [
        ("key", "max_message_bytes".to_owned()),
        ("limit", limit.to_string()),
    ];
    error_info::status(
        Code::ResourceExhausted,
        Reason::MessageTooLarge,
        message,
        facts,
    )
}

fn gunzip(message: &[u8], limit: usize) -> Result<Vec<u8>, Status> {
    let mut plain = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = GzDecoder::new(message).take(most).read_to_end(&mut plain);
    match read {
        Ok(_) if plain.len() > limit => Err(message_too_large(plain.len() as u64, limit)),
        Ok(_) => Ok(plain),
        Err(error) => {
            let message = format!("a gzip message cannot be decompressed: {error}");
            let reason = Reason::MalformedGzip;
            Err(error_info::status(Code::Internal, reason, message, []))
        }
    }
}

fn put_frame(out: &mut BytesMut, flags: u8, message: &[u8]) {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&Header { flags, length }.encode());
    out.extend_from_slice(message);
}

/// An answer whose messages are compressed.
struct GzipBody {
    body: Body,
    /// Messages of fewer bytes are not compressed.
    least: usize,
    /// Bytes of the next frame that have come.
    held: BytesMut,
    /// The trailers, once the last frames are out.
    rest: Option<Frame<Bytes>>,
}

impl GzipBody {
    fn deflate(&mut self) -> Result<Bytes, Status> {
        let mut out = BytesMut::new();
        while let Some((Header { flags, length }, Some(message))) = frame::first(&self.held) {
            if flags != 0 || message.len() < self.least {
                put_frame(&mut out, flags, message);
            } else {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                let small = gzip.write_all(message).and_then(|()| gzip.finish());
                let small = small.map_err(|error| Status::internal(error.to_string()))?;
                put_frame(&mut out, 1, &small);
            }
            self.held.advance(HEADER_BYTES + length as usize);
        }
        Ok(out.freeze())
    }
}

impl http_body::Body for GzipBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(rest)));
        }
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None if self.held.is_empty() => return Poll::Ready(None),
                // An incomplete frame passes as it is.
                None => {
                    let rest = self.held.split().freeze();
                    return Poll::Ready(Some(Ok(Frame::data(rest))));
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    self.held.extend_from_slice(&data);
                    let out = self.deflate()?;
                    if !out.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(out))));
                    }
                }
                Err(trailers) if self.held.is_empty() => return Poll::Ready(Some(Ok(trailers))),
                Err(trailers) => {
                    self.rest = Some(trailers);
                    let rest = self.held.split().freeze();
                    return Poll::Ready(Some(Ok(Frame::data(rest))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.rest.is_none() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn gzip(message: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(message).unwrap();
        gzip.finish().unwrap()
    }

    fn framed(flags: u8, message: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        put_frame(&mut out, flags, message);
        out
    }

    #[test]
    fn messages_are_inflated_as_they_become_complete() {
        let text = vec![b'x'; 3000];
        let wire = [framed(1, &gzip(&text)), framed(0, b"plain")].concat();
        for piece in [1, 4, 7, wire.len()] {
            let (mut held, mut out) = (BytesMut::new(), Vec::new());
            for part in wire.chunks(piece) {
                held.extend_from_slice(part);
                out.extend_from_slice(&inflate(&mut held, 4096).unwrap());
            }
            let expected = [framed(0, &text), framed(0, b"plain")].concat();
            assert_eq!(out, expected, "{piece}");
        }
    }

    #[test]
    fn a_bomb_and_noise_are_refused() {
        let code = |mut held: BytesMut| inflate(&mut held, 1000).unwrap_err().code();
        assert_eq!(
            code(framed(1, &gzip(&vec![0; 1 << 20]))),
            Code::ResourceExhausted
        );
        assert_eq!(code(framed(1, b"noise")), Code::Internal);
        // Announced, and not there yet.
        let announced = BytesMut::from(&[1, 0, 0, 4, 0][..]);
        assert_eq!(code(announced), Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn answers_are_compressed_for_whom_asks() {
        let (large, small) = (vec![b'y'; 5000], b"small".to_vec());
        let answer = |coding: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in coding {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            let body = [framed(0, &large), framed(0, &small)].concat();
            let body = http_body_util::Full::new(Bytes::from(body));
            RequestCoding::of(&headers).answer(Response::new(Body::new(body)))
        };
        for (coding, encoding, flags) in [
            (&[][..], None, (0, 0)),
            (
                &[(ACCEPT_ENCODING, "identity, deflate, gzip")],
                Some(GZIP),
                (1, 0),
            ),
            (&[(ENCODING, GZIP)], Some(GZIP), (1, 1)),
            (&[(ACCEPT_ENCODING, "zstd")], None, (0, 0)),
        ] {
            let (parts, body) = answer(coding).into_parts();
            let said = parts
                .headers
                .get(ENCODING)
                .map(|value| value.to_str().unwrap());
            assert_eq!(said, encoding, "{coding:?}");
            let bytes = body.collect().await.unwrap().to_bytes();
            let (first, message) = frame::first(&bytes).unwrap();
            let (second, _) =
                frame::first(&bytes[HEADER_BYTES + message.unwrap().len()..]).unwrap();
            assert_eq!((first.flags, second.flags), flags, "{coding:?}");
            let mut held = BytesMut::from(&bytes[..]);
            let plain = inflate(&mut held, 1 << 20).unwrap();
            assert_eq!(plain, [framed(0, &large), framed(0, &small)].concat());
        }
    }
}
