use super::*;

fn web() -> WebPolicy {
    let list = |entries: &[&str]| {
        entries
            .iter()
            .map(|it| (*it).to_owned())
            .collect::<Vec<_>>()
    };
    let hosts = list(&["gateway.example", "Only.Example.:8443", "*.below.example"]);
    let origins = list(&["https://console.example", "http://tools.example:3000"]);
    WebPolicy::with(Some("announced"), &hosts, &origins)
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn only_addresses_localhost_and_listed_names_are_hosts() {
    for host in [
        "127.0.0.1",
        "127.0.0.1:8080",
        "10.1.2.3:80",
        "[::1]",
        "[::1]:8080",
        "[2001:DB8::1]:8080",
        "localhost",
        "LocalHost:8080",
        "localhost.",
        "localhost.:8080",
        "localhost:",
        "announced:1",
        "gateway.example",
        "GATEWAY.EXAMPLE.:99",
        "only.example:8443",
        "a.below.example",
        "a.b.below.example:1",
    ] {
        let request = request("GET", "/", &[("host", host)]);
        assert_eq!(web().check(&request, false), Ok(()), "{host}");
    }
    for host in [
        "",
        ":80",
        ".",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "gateway.example.evil.example",
        "evilgateway.example",
        "only.example",
        "only.example:8080",
        "below.example",
        ".below.example",
        "evilbelow.example",
        "::1",
        "[::1",
        "[::1]x",
        "[evil.example]",
        "[fe80::1%25eth0]:80",
        "localhost:80:80",
        "localhost:x",
        "localhost:99999",
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost/evil",
        "localhost evil",
        "localhost..",
        "localhost, evil.example",
    ] {
        let request = request("GET", "/", &[("host", host)]);
        let refused = web().check(&request, false);
        assert!(
            matches!(refused, Err(WebRefusal::Host(_))),
            "{host}: {refused:?}"
        );
    }
}

#[test]
fn the_target_and_the_header_both_have_to_be_allowed() {
    let localhost = ("host", "localhost");
    let table = [
        (request("GET", "http://evil.example/", &[localhost]), 421),
        (
            request("GET", "http://localhost/", &[("host", "evil.example")]),
            421,
        ),
        (request("GET", "http://localhost/", &[]), 200),
        (request("GET", "/", &[]), 400),
        (request("GET", "/", &[localhost, localhost]), 400),
    ];
    for (request, status) in table {
        let checked = web().check(&request, false);
        let seen = checked
            .as_ref()
            .err()
            .map_or(200, |it| it.status().as_u16());
        assert_eq!(seen, status, "{request:?}: {checked:?}");
    }
    // Old probes send none, and no browser speaks HTTP/1.0.
    let mut old = request("GET", "/", &[]);
    old.version = Version::HTTP_10;
    assert_eq!(web().check(&old, false), Ok(()));
}

#[test]
fn a_page_of_another_origin_changes_nothing_and_follows_nothing() {
    let allowed = [
        "http://127.0.0.1:8080",
        "HTTP://127.0.0.1:8080",
        "https://console.example",
        "https://console.example:443",
        "http://tools.example:3000",
    ];
    let foreign = [
        "null",
        "",
        "http://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:3000",
        "https://127.0.0.1:8081",
        "http://localhost:8080",
        "http://console.example",
        "https://console.example.evil.example",
        "https://tools.example:3000",
        "file://",
        "chrome-extension://abc",
        "http://127.0.0.1:8080/path",
        "127.0.0.1:8080",
    ];
    let host = ("host", "127.0.0.1:8080");
    let ask = |method, guarded, more: &[(&str, &str)]| {
        let headers = [&[host], more].concat();
        web().check(&request(method, "/", &headers), guarded)
    };
    for origin in allowed {
        for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "BREW"] {
            assert_eq!(
                ask(method, false, &[("origin", origin)]),
                Ok(()),
                "{origin}"
            );
        }
    }
    for origin in foreign {
        let more = [("origin", origin)];
        for method in ["POST", "PUT", "PATCH", "DELETE", "BREW"] {
            let refused = ask(method, false, &more);
            assert!(
                matches!(refused, Err(WebRefusal::Origin(_))),
                "{origin} {method}"
            );
        }
        let upgrade = [("origin", origin), ("upgrade", "websocket")];
        assert!(ask("GET", false, &upgrade).is_err(), "{origin}");
        assert!(ask("GET", true, &more).is_err(), "{origin}");
        assert_eq!(
            ask("GET", false, &more),
            Ok(()),
            "it cannot read the answer"
        );
    }
    let twice = [("origin", allowed[0]), ("origin", allowed[0])];
    assert!(ask("POST", false, &twice).is_err());
}

#[test]
fn a_browser_that_sends_no_origin_says_where_a_request_comes_from() {
    for (site, allowed) in [
        ("cross-site", false),
        ("same-site", false),
        ("same-origin", true),
        ("none", true),
    ] {
        let headers = [("host", "localhost"), (FETCH_SITE, site)];
        for (method, guarded) in [("POST", false), ("GET", true)] {
            let checked = web().check(&request(method, "/", &headers), guarded);
            assert_eq!(checked.is_ok(), allowed, "{site} {method}");
        }
        assert!(web().check(&request("GET", "/", &headers), false).is_ok());
    }
}

#[test]
fn answers_go_to_listed_origins_only() {
    let from = |origin| {
        let headers = [("host", "localhost"), ("origin", origin)];
        web().cors(&request("GET", "/", &headers))
    };
    assert_eq!(
        from("https://console.example").unwrap(),
        "https://console.example"
    );
    for origin in ["http://localhost", "https://evil.example", "null"] {
        assert_eq!(from(origin), None);
    }
}

#[test]
fn entries_that_would_allow_everything_are_refused() {
    for (key, good, bad) in [
        (&WebKeys::KEYS[0], "a.example, *.b.example, 10.0.0.1", "*"),
        (&WebKeys::KEYS[0], "[::1]:80", "http://a.example"),
        (&WebKeys::KEYS[0], "mesh_gateway", "a.example/path"),
        (&WebKeys::KEYS[1], "https://a.example, http://b:3000", "*"),
        (&WebKeys::KEYS[1], "chrome-extension://abc", "null"),
        (&WebKeys::KEYS[1], "http://[::1]:80", "https://a.example/"),
        (&WebKeys::KEYS[1], "http://localhost", "https://*.example"),
    ] {
        assert!(key.kind.accepts(good), "{good}");
        assert!(!key.kind.accepts(bad), "{bad}");
    }
}
