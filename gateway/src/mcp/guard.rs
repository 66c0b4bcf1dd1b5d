//! Which hosts and pages are answered. A browser lets any page send requests to any address, and a
//! foreign name may be pointed at this machine: both are refused before anything else happens.

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use mcp::rpc::{RpcError, code};
use service::{WebPolicy, WebRefusal};

use super::answer;

/// This machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// What a page of an allowed origin may read.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("mcp-session-id, www-authenticate, retry-after, x-request-id");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
/// What it may send, where it does not ask for headers by name.
const HEADERS: HeaderValue = HeaderValue::from_static(
    "accept, authorization, content-type, last-event-id, mcp-method, mcp-name, \
     mcp-protocol-version, mcp-session-id",
);
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Answers only the hosts and origins that are listed.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    policy: WebPolicy,
}

impl Guard {
    pub(crate) fn new(hosts: &[String], origins: &[String]) -> Self {
        let loopback: Vec<String> = LOOPBACK.into_iter().map(str::to_owned).collect();
        let hosts = if hosts.is_empty() { &loopback } else { hosts };
        Self {
            policy: WebPolicy::only(hosts, origins),
        }
    }

    /// Refuses a foreign `Host` or `Origin`.
    pub(crate) fn check(&self, parts: &Parts) -> Result<(), Response> {
        let refusal = match self.policy.check(parts, true) {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        let text = match &refusal {
            WebRefusal::NoHost => refusal.to_string(),
            WebRefusal::Host(host) => format!(
                "the host name {host:?} is not served here: use localhost, or list the name in \
                 mcp_allowed_hosts"
            ),
            WebRefusal::Origin(origin) => {
                format!("the origin {origin} is not allowed: add it to mcp_allowed_origins")
            }
        };
        let error = RpcError::new(code::INVALID_REQUEST, text);
        Err(answer::error(refusal.status(), None, &error))
    }

    /// The answer to a browser that asks whether a page may send a request.
    pub(crate) fn preflight(&self, parts: &Parts) -> Option<Response> {
        let asks = parts.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD);
        if parts.method != Method::OPTIONS || asks.is_none() {
            return None;
        }
        let mut answer = StatusCode::NO_CONTENT.into_response();
        if self.policy.cors(parts).is_some() {
            let asked = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
            let headers = answer.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            let allowed = asked.cloned().unwrap_or(HEADERS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        Some(answer)
    }

    /// Says in an answer which page may read it.
    pub(crate) fn allow(&self, answer: &mut Response, origin: Option<HeaderValue>) {
        let headers = answer.headers_mut();
        if self.policy.has_origins() {
            headers.append(header::VARY, header::ORIGIN.into());
        }
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }

    /// The listed origin that a request comes from.
    pub(crate) fn origin(&self, parts: &Parts) -> Option<HeaderValue> {
        self.policy.cors(parts)
    }
}

/// Whether each entry of a list is a host name, or all subdomains of one.
pub(crate) fn are_hosts(text: &str) -> bool {
    WebPolicy::are_hosts(text)
}

/// Whether each entry of a list is an origin.
pub(crate) fn are_origins(text: &str) -> bool {
    WebPolicy::are_origins(text)
}

pub(crate) fn is_url(text: &str) -> bool {
    text.is_empty()
        || text.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
        })
}

/// Whether a host of `mcp_allowed_hosts` is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match name.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for near in [
            "localhost",
            "LOCALHOST:3000",
            "127.0.0.1",
            "127.8.0.1:1",
            "[::1]:80",
            "a.localhost",
        ] {
            assert!(is_loopback(near), "{near}");
        }
        for far in [
            "example.com",
            "10.0.0.1",
            "[fe80::1]",
            "localhost.example",
            "*.example.com",
            "",
        ] {
            assert!(!is_loopback(far), "{far}");
        }
    }

    fn parts(host: &str, origin: Option<&str>) -> Parts {
        let mut request = http::Request::post("/mcp").header(header::HOST, host);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn foreign_hosts_and_pages_are_refused() {
        let status = |guard: &Guard, host: &str, origin: Option<&str>| match guard
            .check(&parts(host, origin))
        {
            Ok(()) => 200,
            Err(answer) => answer.status().as_u16(),
        };
        let local = Guard::new(&[], &[]);
        assert_eq!(status(&local, "localhost:3000", None), 200);
        assert_eq!(status(&local, "[::1]:3000", None), 200);
        assert_eq!(status(&local, "127.0.0.1", Some("http://127.0.0.1")), 200);
        assert_eq!(status(&local, "evil.example", None), 421);
        assert_eq!(status(&local, "10.0.0.1", None), 421);
        assert_eq!(
            status(&local, "localhost:3000", Some("http://evil.example")),
            403
        );
        assert_eq!(
            status(&local, "localhost:3000", Some("http://localhost:5173")),
            403
        );
        assert_eq!(status(&local, "localhost:3000", Some("null")), 403);
        let listed = Guard::new(
            &["mcp.example".to_owned()],
            &["https://a.example".to_owned()],
        );
        assert_eq!(
            status(&listed, "mcp.example", Some("https://a.example")),
            200
        );
        assert_eq!(status(&listed, "localhost", None), 421);
    }
}
