//! What a client is asked to send.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::Full;
use url::Url;

use crate::Error;

/// Who we say we are, unless the request says otherwise.
const AGENT: &str = concat!("mesh-fetch/", env!("CARGO_PKG_VERSION"));

/// What belongs to the connection, which is the client's.
const CONNECTION: [header::HeaderName; 4] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
];

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where to.
    pub url: Url,
    /// How.
    pub method: Method,
    /// Headers; `host` and those of the connection are set by the client.
    pub headers: HeaderMap,
    /// What to send.
    pub body: Bytes,
    /// How long it may take, if that is less than the client's limit.
    pub time: Option<Duration>,
}

impl Request {
    /// A `GET` without headers.
    #[must_use]
    pub fn get(url: Url) -> Self {
        Self {
            url,
            method: Method::GET,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            time: None,
        }
    }

    /// The request as it goes over the wire: in origin form, with its host.
    pub(crate) fn message(&self) -> Result<http::Request<Full<Bytes>>, Error> {
        let url = &self.url;
        let bad = |reason: String| Error::BadUrl {
            url: telemetry::redact(url.as_str()).into_owned(),
            reason,
        };
        let target = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut message = http::Request::builder()
            .method(self.method.clone())
            .uri(target)
            .body(Full::new(self.body.clone()))
            .map_err(|error| bad(format!("cannot be asked for: {error}")))?;
        let host = HeaderValue::try_from(host).map_err(|error| bad(error.to_string()))?;
        let headers = message.headers_mut();
        *headers = self.headers.clone();
        for name in CONNECTION {
            headers.remove(name);
        }
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(AGENT));
        headers
            .entry(header::ACCEPT)
            .or_insert(HeaderValue::from_static("*/*"));
        headers.insert(header::HOST, host);
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok(message)
    }
}
