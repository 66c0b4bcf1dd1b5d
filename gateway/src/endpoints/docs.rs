//! The page that shows the API, with forms to try it: Scalar's API reference, served by the program
//! itself. Its policy lets it load from and ask this gateway only.

use std::{io::Read as _, sync::OnceLock};

use axum::response::{Html, IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};

const INDEX: &str = include_str!("docs/index.html");
const START: &str = include_str!("docs/start.js");
/// Scalar's script, compressed by `build.rs`: five megabytes become one and a half.
const SCALAR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/scalar.js.gz"));
/// What the page may do: run its own scripts, and ask this gateway. Scalar makes its style sheet
/// itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
                      style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// How long browsers keep the scripts.
const KEPT: HeaderValue = HeaderValue::from_static("max-age=3600");

/// The root leads to the page.
pub(super) async fn root() -> Redirect {
    Redirect::temporary("/docs")
}

pub(super) async fn index() -> Response {
    let policy = HeaderValue::from_static(POLICY);
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(INDEX)).into_response()
}

pub(super) async fn start() -> Response {
    script(START.into())
}

/// The script, compressed unless the browser does not support that.
pub(super) async fn scalar(headers: HeaderMap) -> Response {
    static DECOMPRESSED: OnceLock<Bytes> = OnceLock::new();
    let gzip = headers.get_all(header::ACCEPT_ENCODING).iter();
    let gzip = gzip.filter_map(|value| value.to_str().ok());
    let takes_gzip = gzip.flat_map(|value| value.split(',')).any(is_gzip);
    let read = move || match takes_gzip {
        true => Bytes::from_static(SCALAR),
        false => DECOMPRESSED.get_or_init(decompressed).clone(),
    };
    let Ok(bytes) = tokio::task::spawn_blocking(read).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
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

fn decompressed() -> Bytes {
    let mut script = Vec::new();
    let read = GzDecoder::new(SCALAR).read_to_end(&mut script);
    debug_assert!(read.is_ok(), "build.rs compressed it: {read:?}");
    script.into()
}

fn script(text: Bytes) -> Response {
    let form = HeaderValue::from_static("text/javascript; charset=utf-8");
    let headers = [(header::CONTENT_TYPE, form), (header::CACHE_CONTROL, KEPT)];
    (headers, text).into_response()
}
