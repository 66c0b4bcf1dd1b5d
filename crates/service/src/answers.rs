//! Short answers over HTTP, as the admin listener and the programs without gRPC give them.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::Service;

use crate::{Context, RequestBody, probes::Probe};

/// An answer whose body is there.
pub type Answer = Response<Full<Bytes>>;

/// The service of a program with a few pages and no bodies. The rules for web pages and the probes come
/// first, and `answer` has the rest.
pub fn pages<A, F>(
    context: Context,
    answer: A,
) -> impl Service<Request<RequestBody>, Response = Answer, Error = Infallible, Future: Send + 'static>
+ Clone
+ Send
+ Sync
+ 'static
where
    A: Fn(Parts) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let web = context.web_policy();
    tower::service_fn(move |request: Request<RequestBody>| {
        let (context, web, answer) = (context.clone(), web.clone(), answer.clone());
        async move {
            let request = request.into_parts().0;
            let origin = web.cors(&request);
            let mut answer = match web.check(&request, false) {
                Err(refusal) => problem(refusal.status(), &refusal.to_string()),
                Ok(()) => match probe(&context, &request.method, request.uri.path()) {
                    Some(answer) => answer,
                    None => answer(request).await,
                },
            };
            if let Some(origin) = origin {
                let allow = header::ACCESS_CONTROL_ALLOW_ORIGIN;
                answer.headers_mut().insert(allow, origin);
            }
            Ok(answer)
        }
    })
}

/// A line of text.
#[must_use]
pub fn text(status: StatusCode, line: &str) -> Answer {
    body(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// JSON, with a line's end for terminals.
#[must_use]
pub fn json(status: StatusCode, value: &Value) -> Answer {
    body(status, "application/json", format!("{value}\n"))
}

/// A problem (RFC 9457) of no type of its own.
#[must_use]
pub fn problem(status: StatusCode, detail: &str) -> Answer {
    let title = status.canonical_reason().unwrap_or_default();
    let value = json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail,
    });
    body(status, "application/problem+json", format!("{value}\n"))
}

/// Any text of a content type.
#[must_use]
pub fn body(status: StatusCode, content_type: &'static str, content: String) -> Answer {
    bytes(status, content_type, Bytes::from(content))
}

/// Any bytes of a content type.
pub(crate) fn bytes(status: StatusCode, content_type: &'static str, content: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(content));
    *answer.status_mut() = status;
    let value = HeaderValue::from_static(content_type);
    answer.headers_mut().insert(header::CONTENT_TYPE, value);
    answer
}

/// Adds the methods that a path takes.
#[must_use]
pub fn allowing(mut answer: Answer, methods: &'static str) -> Answer {
    let methods = HeaderValue::from_static(methods);
    answer.headers_mut().insert(header::ALLOW, methods);
    answer
}

/// The answer to a probe: liveness at `/healthz` and `/livez`, readiness at `/readyz`; `None` for
/// any other request.
#[must_use]
pub fn probe(context: &Context, method: &Method, path: &str) -> Option<Answer> {
    if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return None;
    }
    match (Probe::at(path)?, path.trim_end_matches('/')) {
        (Probe::Live, _) => Some(text(StatusCode::OK, "ok")),
        (Probe::Ready, "/readyz") => {
            let (status, report) = context.readiness();
            Some(text(status, &report))
        }
        (Probe::Ready, _) => None,
    }
}
