//! The page that a signed link of an approval leads to. It shows what is asked and posts the decision.
//! Its policy lets it run its own script and ask this gateway only.

use axum::response::Html;
use http::{HeaderValue, header};

use super::prelude::*;

const PAGE: &str = include_str!("page/approval.html");
const SCRIPT: &str = include_str!("page/approval.js");
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(in crate::endpoints) async fn show() -> Response {
    let headers = [
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        ),
        // The link is a secret.
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Html(PAGE)).into_response()
}

pub(in crate::endpoints) async fn script() -> Response {
    let form = HeaderValue::from_static("text/javascript; charset=utf-8");
    ([(header::CONTENT_TYPE, form)], SCRIPT).into_response()
}
