//! Where a redirect leads: RFC 9110, section 15.4.

use http::{HeaderMap, Method, StatusCode, header};
use url::Url;

use crate::{Error, Request};

/// What only the server it was meant for may see.
const SECRETS: [header::HeaderName; 3] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
];
/// What describes a body that is sent no more.
const CONTENT: [header::HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
];

/// The request that an answer asks for instead, if it is a redirect.
pub(crate) fn follow(
    request: &Request,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<Request>, Error> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = headers.get(header::LOCATION) else {
        return Ok(None);
    };
    let to = String::from_utf8_lossy(location.as_bytes());
    let url = request.url.join(&to).map_err(|error| Error::BadUrl {
        url: telemetry::redact(&to).into_owned(),
        reason: format!("is where {} redirects to, and no URL: {error}", request.url),
    })?;
    let mut next = Request {
        url,
        ..request.clone()
    };
    let kept = matches!(next.method, Method::GET | Method::HEAD);
    // What every browser does with a POST; 307 and 308 were made for keeping it.
    let becomes_get = status == StatusCode::SEE_OTHER && !kept
        || next.method == Method::POST && matches!(status.as_u16(), 301 | 302);
    if becomes_get {
        next.method = Method::GET;
        next.body.clear();
        CONTENT
            .iter()
            .for_each(|name| drop(next.headers.remove(name)));
    }
    if origin(&next.url) != origin(&request.url) {
        SECRETS
            .iter()
            .for_each(|name| drop(next.headers.remove(name)));
    }
    Ok(Some(next))
}

fn origin(url: &Url) -> (&str, Option<&str>, Option<u16>) {
    (url.scheme(), url.host_str(), url.port_or_known_default())
}
