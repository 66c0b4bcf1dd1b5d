//! The page that shows the API and lets one try it: Scalar's API reference, served from within the
//! program. It needs nothing from elsewhere, and its policy lets it ask nobody else.

use std::{io::Write as _, sync::OnceLock};

use axum::{
    Router,
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::state::App;

const INDEX: &str = include_str!("page/index.html");
const START: &str = include_str!("page/start.js");
/// Scalar's script, in the crate that brings it.
const SCALAR: &str = "scalar.js";
/// What the page may do: run its own scripts, and ask where it came from. Scalar makes its style
/// sheet itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
                      style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// How long browsers keep the scripts.
const KEPT: HeaderValue = HeaderValue::from_static("max-age=3600");

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/docs", get(index))
        .route("/docs/start.js", get(start))
        .route("/docs/scalar.js", get(scalar))
}

async fn index() -> Response {
    let policy = HeaderValue::from_static(POLICY);
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(INDEX)).into_response()
}

async fn start() -> Response {
    script(START.into())
}

/// The script, compressed for whoever takes that: five megabytes are one and a half then.
async fn scalar(headers: HeaderMap) -> Response {
    static COMPRESSED: OnceLock<Option<Bytes>> = OnceLock::new();
    let gzip = headers.get_all(header::ACCEPT_ENCODING).iter();
    let gzip = gzip.filter_map(|value| value.to_str().ok());
    let takes_gzip = gzip.flat_map(|value| value.split(',')).any(is_gzip);
    let read = move || match takes_gzip {
        true => COMPRESSED.get_or_init(compressed).clone(),
        false => scalar_api_reference::get_asset(SCALAR).map(Bytes::from),
    };
    let Ok(Some(bytes)) = tokio::task::spawn_blocking(read).await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut answer = script(bytes);
    let headers = answer.headers_mut();
    headers.append(header::VARY, header::ACCEPT_ENCODING.into());
    if takes_gzip {
        let gzip = HeaderValue::from_static("gzip");
        headers.insert(header::CONTENT_ENCODING, gzip);
    }
    answer
}

fn is_gzip(coding: &str) -> bool {
    let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
    let refused = quality.trim().strip_prefix("q=");
    let refused = refused.is_some_and(|quality| quality.parse() == Ok(0.0));
    name.trim().eq_ignore_ascii_case("gzip") && !refused
}

fn compressed() -> Option<Bytes> {
    let script = scalar_api_reference::get_asset(SCALAR)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&script).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

fn script(text: Bytes) -> Response {
    let form = HeaderValue::from_static("text/javascript; charset=utf-8");
    let headers = [(header::CONTENT_TYPE, form), (header::CACHE_CONTROL, KEPT)];
    (headers, text).into_response()
}
