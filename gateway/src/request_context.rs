//! Where a request comes from. Its jobs and calls keep that.

use std::{collections::BTreeMap, net::IpAddr};

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderName, request::Parts};
use jobs::NewJob;
use service::{
    PeerAddr,
    clients::{Network, X_FORWARDED_FOR, client_address},
};
use telemetry::{TRACEPARENT, TRACESTATE, TraceContext};

use crate::{problem::Problem, state::App};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const TRACE_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static(TRACEPARENT),
    HeaderName::from_static(TRACESTATE),
];
/// The longest trace header that is carried on, in bytes.
const MAX_TRACE: usize = 512;

/// Who asks, in which trace, under which key.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestContext {
    pub(crate) client: Option<IpAddr>,
    pub(crate) trace: BTreeMap<String, String>,
    pub(crate) key: Option<String>,
}

impl FromRequestParts<App> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let key = match parts.headers.get(IDEMPOTENCY_KEY) {
            None => None,
            Some(key) => {
                let key = key.to_str().ok().filter(|key| !key.is_empty());
                let key = key.ok_or_else(|| {
                    Problem::field("Idempotency-Key", "must be 1 to 256 printable characters")
                })?;
                Some(key.to_owned())
            }
        };
        Ok(Self {
            client: client(parts, &app.proxies),
            trace: trace(&parts.headers),
            key,
        })
    }
}

impl RequestContext {
    /// Gives a job what it has from its request. A key in the body must equal the header's.
    pub(crate) fn apply_to(&self, job: &mut NewJob) -> Result<(), Problem> {
        match (&self.key, &job.idempotency_key) {
            (Some(header), Some(field)) if header != field => {
                let reason = "differs from the header Idempotency-Key: send one of them";
                return Err(Problem::field("idempotency_key", reason));
            }
            (Some(header), _) => job.idempotency_key = Some(header.clone()),
            (None, _) => {}
        }
        job.trace.clone_from(&self.trace);
        job.caller = self.client.map(|client| client.to_string());
        Ok(())
    }
}

/// The client's address: the peer's, or the one that a trusted proxy names.
pub(crate) fn client(parts: &Parts, proxies: &[Network]) -> Option<IpAddr> {
    let PeerAddr(peer) = parts.extensions.get::<PeerAddr>()?;
    let named = parts.headers.get_all(X_FORWARDED_FOR).iter();
    let named = named.filter_map(|value| value.to_str().ok());
    Some(client_address(peer.ip().to_canonical(), proxies, named))
}

/// The caller's context, or that of the request's span.
fn trace(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut carried = BTreeMap::new();
    for name in TRACE_HEADERS {
        let value = headers.get(&name).filter(|value| value.len() <= MAX_TRACE);
        if let Some(value) = value.and_then(|value| value.to_str().ok()) {
            carried.insert(name.as_str().to_owned(), value.to_owned());
        }
    }
    TraceContext::carry_current(&mut carried);
    carried
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        let peer: std::net::SocketAddr = "10.0.0.9:1".parse().unwrap();
        let request = http::Request::get("/")
            .header(X_FORWARDED_FOR, "6.6.6.6, 1.2.3.4:99, 10.0.0.8")
            .extension(PeerAddr(peer));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(client(&parts, &[]), ip("10.0.0.9"));
        let proxies = [Network::parse("10.0.0.8/31").unwrap()];
        // Its port does not make the address unreadable, and the one before it the client's own.
        assert_eq!(client(&parts, &proxies), ip("1.2.3.4"));
    }
}
