//! `/tap`: the calls of the gRPC port as they end, a line of JSON each, for as long as the client reads.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::Full;

use super::access;
use crate::{
    Context,
    answers::{self, Answer, text},
    call_log::tap::{MOST_TAPS, OpenTap, TapQuery, Taps},
};

/// The body of an answer of the admin listener.
#[derive(Debug)]
pub(super) enum AdminBody {
    Whole(Full<Bytes>),
    Tap(OpenTap),
}

/// Opens a tap, or says why not.
pub(super) fn answer<B>(
    context: &Context,
    taps: Option<&Arc<Taps>>,
    request: &Request<B>,
) -> Response<AdminBody> {
    let refuse = |answer: Answer| answer.map(Into::into);
    if let Some(refused) = access::refusal(&context.keys.admin, request) {
        return refuse(refused);
    }
    if request.method() != Method::GET {
        let refused = text(StatusCode::METHOD_NOT_ALLOWED, "expected GET");
        return refuse(answers::allowing(refused, "GET"));
    }
    let Some(taps) = taps else {
        let line = "this program serves no gRPC, so it has no calls to show";
        return refuse(text(StatusCode::NOT_FOUND, line));
    };
    let query = match query(request.uri().query().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return refuse(text(StatusCode::BAD_REQUEST, &error)),
    };
    let Some(tap) = taps.open(query) else {
        let line = format!("{MOST_TAPS} taps are open, and no more may be: close one");
        return refuse(text(StatusCode::TOO_MANY_REQUESTS, &line));
    };
    let mut answer = Response::new(AdminBody::Tap(tap));
    let lines = HeaderValue::from_static("application/x-ndjson");
    answer.headers_mut().insert(header::CONTENT_TYPE, lines);
    answer
}

fn query(text: &str) -> Result<TapQuery, String> {
    let mut query = TapQuery::default();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded =
            decoded(value).ok_or_else(|| format!("{key} is not encoded as a URL's parameter"))?;
        query
            .set(key, &decoded)
            .map_err(|error| error.to_string())?;
    }
    Ok(query)
}

/// A value of a query without its `%41` and `+`; `None` where that is no text.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

impl From<Full<Bytes>> for AdminBody {
    fn from(body: Full<Bytes>) -> Self {
        Self::Whole(body)
    }
}

impl http_body::Body for AdminBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Tap(tap) => tap
                .poll_line(cx)
                .map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Tap(_) => false,
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Tap(_) => http_body::SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_or_refused() {
        let same = |text: &str, parameters: &[(&str, &str)]| {
            let mut expected = TapQuery::default();
            for (key, value) in parameters {
                expected.set(key, value).unwrap();
            }
            assert_eq!(query(text), Ok(expected), "{text}");
        };
        same("", &[]);
        same(
            "service=agent-echo&status=14",
            &[("service", "agent-echo"), ("status", "14")],
        );
        same("method=pkg.S%2fM&status=", &[("method", "pkg.S/M")]);
        same("&header=x-a&header=x-b", &[("header", "x-a,x-b")]);
        for (text, words) in [
            ("status=FOO", "status is `FOO`: expected a code of gRPC"),
            ("colour=red", "parameter is `colour`"),
            ("method=%zz", "method is not encoded"),
            ("method=%4", "method is not encoded"),
            ("method=%ff", "method is not encoded"),
        ] {
            let error = query(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
