//! Probes of load balancers and people on a gRPC port, over HTTP/2. A request that is neither a
//! probe nor a gRPC call gets an HTTP error.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tonic::body::Body;

/// A probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Readiness: whether the program wants calls.
    Ready,
    /// Liveness.
    Live,
}

impl Probe {
    /// The probe at a path, with or without a slash at the end.
    pub(crate) fn at(path: &str) -> Option<Self> {
        match path.trim_end_matches('/') {
            "" | "/readyz" | "/health" => Some(Self::Ready),
            "/healthz" | "/livez" => Some(Self::Live),
            _ => None,
        }
    }
}

/// Whether a request on an HTTP port is one of a load balancer's health checks.
pub(crate) fn is_health_check(method: &Method, path: &str) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
        && ["/readyz", "/healthz", "/livez"].contains(&path)
}

/// Whether a path is a probe's.
#[must_use]
pub fn is_probe(path: &str) -> bool {
    Probe::at(path).is_some()
}

/// The answer to a request that is not a gRPC call; `None` for a call. `ready` gives the answer of
/// readiness.
pub(crate) fn answer<B>(
    request: &Request<B>,
    ready: impl FnOnce() -> (StatusCode, String),
) -> Option<Response<Body>> {
    let path = request.uri().path();
    let asks = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    match Probe::at(path) {
        Some(Probe::Ready) if asks => {
            let (code, told) = ready();
            let mut answer = status(code);
            if request.method() == Method::GET {
                *answer.body_mut() = Body::new(Full::new(Bytes::from(told)));
            }
            Some(answer)
        }
        Some(_) if asks => Some(status(StatusCode::OK)),
        Some(_) => Some(not_allowed("GET, HEAD, OPTIONS")),
        None if request.method() != Method::POST => Some(if is_method(path) {
            not_allowed("POST")
        } else {
            status(StatusCode::NOT_FOUND)
        }),
        None => {
            let form = request.headers().get(header::CONTENT_TYPE);
            let is_grpc = form.is_some_and(|form| is_grpc(form.as_bytes()));
            (!is_grpc).then(|| status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
        }
    }
}

/// Whether a path is of the form `/pkg.Service/Method`.
#[must_use]
pub fn is_method(path: &str) -> bool {
    let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    parts.is_some_and(|(service, method)| {
        !service.is_empty() && !method.is_empty() && !method.contains('/')
    })
}

/// Whether a content type is gRPC's, such as `application/grpc+proto`.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    content_type
        .split_at_checked(GRPC.len())
        .is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(GRPC)
                && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        })
}

fn not_allowed(allow: &'static str) -> Response<Body> {
    let mut answer = status(StatusCode::METHOD_NOT_ALLOWED);
    let allow = HeaderValue::from_static(allow);
    answer.headers_mut().insert(header::ALLOW, allow);
    answer
}

fn status(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, path: &str, form: &str, draining: bool) -> Option<u16> {
        let mut request = Request::builder().method(method).uri(path);
        if !form.is_empty() {
            request = request.header("content-type", form);
        }
        let request = request.body(()).unwrap();
        let ready = || match draining {
            true => (StatusCode::NOT_FOUND, String::new()),
            false => (StatusCode::OK, "ready".to_owned()),
        };
        answer(&request, ready).map(|answer| answer.status().as_u16())
    }

    #[test]
    fn every_way_to_ask_gets_the_same_status() {
        for method in ["GET", "HEAD", "OPTIONS"] {
            for path in ["/readyz", "/readyz/", "/health", "/", "/readyz?x=1"] {
                assert_eq!(ask(method, path, "", false), Some(200), "{method} {path}");
                assert_eq!(ask(method, path, "", true), Some(404), "{method} {path}");
            }
            for path in ["/healthz", "/healthz/", "/livez"] {
                assert_eq!(ask(method, path, "", true), Some(200), "{method} {path}");
            }
        }
    }

    #[test]
    fn what_is_no_call_is_refused_as_http_does() {
        let grpc = "application/grpc";
        for (method, path, form, expected) in [
            ("PUT", "/readyz", "", Some(405)),
            ("POST", "/readyz", grpc, Some(405)),
            ("GET", "/pkg.S/M", "", Some(405)),
            ("GET", "/pkg.S/M", grpc, Some(405)),
            ("GET", "/favicon.ico", "", Some(404)),
            ("DELETE", "/a/b/c", "", Some(404)),
            ("POST", "/pkg.S/M", "", Some(415)),
            ("POST", "/pkg.S/M", "application/json", Some(415)),
            ("POST", "/pkg.S/M", "application/grpc-web+proto", Some(415)),
            ("POST", "/pkg.S/M", "text/application/grpc", Some(415)),
            ("POST", "/pkg.S/M", grpc, None),
            ("POST", "/pkg.S/M", "application/grpc+proto", None),
            ("POST", "/pkg.S/M", "Application/gRPC;charset=utf-8", None),
            ("POST", "/what/ever", grpc, None),
        ] {
            assert_eq!(
                ask(method, path, form, false),
                expected,
                "{method} {path} {form}"
            );
        }
    }
}
