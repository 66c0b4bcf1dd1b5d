//! Who may read the configuration and change the log level.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};

use crate::{
    AdminKeys, PeerAddr,
    answers::{Answer, text},
};

/// The answer to a request that is not allowed; `None` for one that is.
pub(super) fn refusal<B>(keys: &AdminKeys, request: &Request<B>) -> Option<Answer> {
    let headers = request.headers();
    if let Some(refused) = foreign_page(headers) {
        return Some(refused);
    }
    if has_token(keys, headers) {
        return None;
    }
    if !is_from_here(request) {
        let words = "send admin_token as Authorization: Bearer …, or ask from this machine";
        let mut answer = text(StatusCode::UNAUTHORIZED, words);
        let scheme = HeaderValue::from_static("Bearer");
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
        return Some(answer);
    }
    rebound(headers)
}

/// The answer to a request of a web page; `None` for a request of any other program, wherever it
/// runs.
pub(crate) fn web_page<B>(request: &Request<B>) -> Option<Answer> {
    let headers = request.headers();
    let rebound = || is_from_here(request).then(|| rebound(headers)).flatten();
    foreign_page(headers).or_else(rebound)
}

/// A browser names the page that sends a request. No page is allowed.
fn foreign_page(headers: &HeaderMap) -> Option<Answer> {
    let foreign = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site != "none" && site != "same-origin");
    let words = "web pages are not allowed here";
    (foreign || headers.contains_key(header::ORIGIN)).then(|| text(StatusCode::FORBIDDEN, words))
}

/// DNS rebinding: a page whose name was pointed here sends that name and no origin.
fn rebound(headers: &HeaderMap) -> Option<Answer> {
    let elsewhere = headers.get(header::HOST).is_some_and(|host| !is_here(host));
    let words = "use an IP address or localhost as the host, or send admin_token";
    elsewhere.then(|| text(StatusCode::MISDIRECTED_REQUEST, words))
}

fn is_from_here<B>(request: &Request<B>) -> bool {
    let peer = request.extensions().get::<PeerAddr>();
    peer.is_some_and(|peer| peer.0.ip().to_canonical().is_loopback())
}

fn has_token(keys: &AdminKeys, headers: &HeaderMap) -> bool {
    let Some(token) = &keys.admin_token else {
        return false;
    };
    let given = headers
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    let bearer = given.and_then(|given| {
        let (scheme, rest) = given.split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
    });
    bearer.is_some_and(|bearer| same(bearer.trim_ascii(), token.expose().as_bytes()))
}

/// Compares in constant time.
fn same(a: &[u8], b: &[u8]) -> bool {
    let different = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && different == 0
}

fn is_here(host: &HeaderValue) -> bool {
    let uri = host.to_str().ok().and_then(|host| host.parse::<Uri>().ok());
    let Some(host) = uri.as_ref().and_then(Uri::host) else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::tests::SPEC;

    fn status(token: &str, peer: &str, set: &[(&'static str, &'static str)]) -> u16 {
        let loader = SPEC.loader().set("admin_token", token);
        let mut request = Request::new(());
        for (name, value) in set {
            let value = HeaderValue::from_static(value);
            request.headers_mut().insert(*name, value);
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        request.extensions_mut().insert(PeerAddr(peer));
        let refusal = refusal(&AdminKeys::from_config(&loader.load().unwrap()), &request);
        refusal.map_or(200, |answer| answer.status().as_u16())
    }

    #[test]
    fn this_machine_and_the_token_are_let_in_and_pages_never() {
        let right = ("authorization", "Bearer s3cret");
        let table: &[(&str, &str, &[_], u16)] = &[
            ("", "127.0.0.1", &[], 200),
            ("", "::1", &[], 200),
            ("", "::ffff:127.0.0.1", &[], 200),
            ("", "10.0.0.1", &[], 401),
            ("", "10.0.0.1", &[("authorization", "Bearer ")], 401),
            ("s3cret", "127.0.0.1", &[], 200),
            ("s3cret", "10.0.0.1", &[right], 200),
            (
                "s3cret",
                "10.0.0.1",
                &[("authorization", "bearer s3cret")],
                200,
            ),
            (
                "s3cret",
                "10.0.0.1",
                &[("authorization", "Bearer s3cre")],
                401,
            ),
            (
                "s3cret",
                "10.0.0.1",
                &[("authorization", "Bearer s3cret2")],
                401,
            ),
            (
                "s3cret",
                "10.0.0.1",
                &[("authorization", "Basic s3cret")],
                401,
            ),
            ("", "127.0.0.1", &[("origin", "http://localhost")], 403),
            ("s3cret", "10.0.0.1", &[right, ("origin", "null")], 403),
            ("", "127.0.0.1", &[("sec-fetch-site", "cross-site")], 403),
            ("", "127.0.0.1", &[("host", "evil.example:9090")], 421),
            ("", "127.0.0.1", &[("host", "localhost:9090")], 200),
            ("", "127.0.0.1", &[("host", "127.0.0.1:9090")], 200),
            ("", "127.0.0.1", &[("host", "[::1]:9090")], 200),
            ("s3cret", "10.0.0.1", &[right, ("host", "echo-1:9090")], 200),
        ];
        for (token, peer, headers, expected) in table {
            let seen = status(token, peer, headers);
            assert_eq!(seen, *expected, "{token:?} {peer} {headers:?}");
        }
    }
}
