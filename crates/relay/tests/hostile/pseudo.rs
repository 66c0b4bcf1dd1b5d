//! Pseudo-headers that some instance would refuse: by ending the connection that all clients share,
//! or by resetting the stream, which counts against an instance that has done nothing wrong.

use http::{
    HeaderName, HeaderValue, Method,
    uri::{Authority, PathAndQuery, Scheme},
};
use mesh_relay::hpack::Token;

use crate::{
    support::{fields, reset_code},
    with_call,
};

/// Every byte at the beginning, in the middle and at the end of some values.
fn values(seeds: &[&str]) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    for seed in seeds {
        for byte in 0..=255 {
            let (one, two) = seed.split_at(seed.len() / 2);
            out.push([&[byte], seed.as_bytes()].concat());
            out.push([one.as_bytes(), &[byte], two.as_bytes()].concat());
            out.push([seed.as_bytes(), &[byte]].concat());
            out.push(vec![byte]);
        }
    }
    out
}

#[test]
fn what_passes_is_taken_by_the_library_that_most_instances_are_built_on() {
    type Takes = fn(&[u8]) -> bool;
    fn text(value: &[u8]) -> &str {
        std::str::from_utf8(value).unwrap_or("\0")
    }
    let rules: [(&str, &[&str], Takes); 4] = [
        (":method", &["POST", "CONNECT", "get"], |value| {
            Method::from_bytes(value).is_ok_and(|method| method != Method::CONNECT)
        }),
        (":scheme", &["http", "https", "a+b-c.d"], |value| {
            text(value).parse::<Scheme>().is_ok()
        }),
        (
            ":authority",
            &[
                "",
                "tool:80",
                "10.0.0.1:80",
                "[::1]:80",
                "[::1]",
                "a:b:c",
                "a@b",
                "[::1",
                "::1]",
                "a%41",
                "[a]b",
                "a[::1]",
                "@",
                ":",
                "[]",
                "a:",
                "[::1]:8a",
            ],
            |value| text(value).parse::<Authority>().is_ok(),
        ),
        (":path", &["/a.S/M", "/a?b=c&d=%20", "*"], |value| {
            text(value).parse::<PathAndQuery>().is_ok()
        }),
    ];
    for (name, seeds, takes) in rules {
        for value in values(seeds) {
            let token = Token::of(name.as_bytes(), &value);
            let passes = !matches!(token, Token::Malformed | Token::NoHost);
            let shown = String::from_utf8_lossy(&value);
            assert!(!passes || takes(&value), "{name}: {shown:?}");
        }
    }
    for value in values(&["", "x-name"]) {
        let passes = Token::of(&value, b"v") != Token::Malformed && value[0] != b':';
        assert!(
            !passes || HeaderName::from_lowercase(&value).is_ok(),
            "{value:?}"
        );
        let passes = Token::of(b"x", &value) != Token::Malformed;
        assert!(
            !passes || HeaderValue::from_bytes(&value).is_ok(),
            "{value:?}"
        );
    }
}

#[test]
fn what_clients_send_passes() {
    for (name, value) in [
        (":method", "POST"),
        (":method", "GET"),
        (":scheme", "http"),
        (":scheme", "https"),
        (":authority", "tool-weather"),
        (":authority", "Tool_Weather.mesh:50051"),
        (":authority", "127.0.0.1:1"),
        (":authority", "[2001:db8::1]:443"),
        (":authority", "[::1]"),
        (":path", "/agentplatform.AgentService/ExecuteTask"),
        (":path", "/a/b?c=d&e=f%20g;h,i!j~k'(l)*m$n@o:p+q"),
        (":path", "*"),
    ] {
        let token = Token::of(name.as_bytes(), value.as_bytes());
        let passes = !matches!(token, Token::Malformed | Token::NoHost);
        assert!(passes, "{name}: {value}");
    }
}

#[test]
fn a_request_with_such_a_pseudo_header_reaches_no_instance() {
    const GOOD: [(&str, &str); 4] = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/a.S/M"),
        (":authority", "a"),
    ];
    for (name, value) in [
        (":method", "GE(T"),
        (":method", "CONNECT"),
        (":scheme", "h@p"),
        (":path", "/a<b"),
        (":path", "/a#b"),
        (":path", " /a"),
    ] {
        let mut bench = crate::bench();
        let (_good, mut instance) = with_call(&mut bench);
        bench.hear(&mut instance);
        let mut client = bench.client();
        let mut bad: Vec<_> = GOOD.into_iter().filter(|(n, _)| *n != name).collect();
        bad.push((name, value));
        bench.say(&client, |out| fields(out, 1, &bad, true));
        let seen = bench.of_stream(&mut client, 1);
        assert_eq!(reset_code(&seen), Some(1), "{name}: {value}");
        assert!(bench.hear(&mut instance).is_empty(), "{name}: {value}");
    }
}

#[test]
fn an_authority_that_instances_may_not_take_is_replaced_and_none_is_filled_in() {
    const GOOD: [(&str, &str); 4] = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/a.S/M"),
        ("content-type", "application/grpc"),
    ];
    let odd = [
        Some("ipv4:127.0.0.1:1,127.0.0.1:2"),
        Some("services%2Fecho"),
        Some(":50051"),
        Some("[fe80::1%25eth0]:50051"),
        Some("me@a"),
        Some("b\u{fc}cher:1"),
        Some("a b"),
        Some(""),
        None,
    ];
    for (authority, came) in odd.into_iter().zip(1..) {
        let mut bench = crate::bench();
        let mut client = bench.client();
        let mut sent = GOOD.to_vec();
        sent.extend(authority.map(|authority| (":authority", authority)));
        // A request's pseudo-headers come first.
        sent.sort_by_key(|(name, _)| !name.starts_with(':'));
        bench.say(&client, |out| fields(out, 1, &sent, true));
        let mut instance = bench.instance();
        let seen = bench.of_stream(&mut instance, 1);
        let got = instance.fields(&seen[0]);
        let authorities: Vec<_> = got
            .iter()
            .filter(|(name, _)| name == ":authority")
            .collect();
        let neutral = (":authority".to_owned(), "localhost".to_owned());
        assert_eq!(authorities, [&neutral], "{came}: {authority:?}");
        let regular = got.iter().position(|(name, _)| !name.starts_with(':'));
        let last = got.iter().rposition(|(name, _)| name.starts_with(':'));
        assert!(last < regular, "{got:?}");
        assert_eq!(reset_code(&bench.of_stream(&mut client, 1)), None);
    }
}
