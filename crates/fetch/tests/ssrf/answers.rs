//! Answers: whole, too large, too slow, and those that lead elsewhere.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, header};
use mesh_fetch::{Error, FetchLimits, Request};
use parking_lot::Mutex;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, task::JoinSet};

use crate::support::{Internet, PUBLIC, Server, answer, client};

const NAMES: &[(&str, &[&str])] = &[("a.example", &[PUBLIC]), ("b.example", &[PUBLIC])];

fn get(url: &str) -> Request {
    Request::get(url.parse().unwrap())
}

#[tokio::test]
async fn a_request_arrives_as_it_was_made_and_its_answer_comes_back_whole() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let server = Server::start(move |request| {
        let host = request.headers()[header::HOST].to_str().unwrap().to_owned();
        let own = request.headers().get("x-own").cloned();
        log.lock().push((
            request.method().clone(),
            request.uri().to_string(),
            host,
            own,
        ));
        answer(418, &[("x-kind", "tea")], "short and stout")
    })
    .await;
    let internet = Internet::new(server.address, NAMES);
    let mut request = get("http://a.example:8000/pot?of=tea#lid");
    request.method = Method::PUT;
    request
        .headers
        .insert("x-own", HeaderValue::from_static("1"));
    request
        .headers
        .insert(header::HOST, HeaderValue::from_static("other"));
    let got = client(&internet, &[], FetchLimits::default())
        .send(request)
        .await
        .unwrap();
    assert_eq!((got.status.as_u16(), got.redirects), (418, 0));
    assert_eq!(got.headers["x-kind"], "tea");
    assert_eq!(got.body, "short and stout");
    let own = Some(HeaderValue::from_static("1"));
    let expected = (
        Method::PUT,
        "/pot?of=tea".to_owned(),
        "a.example:8000".to_owned(),
        own,
    );
    assert_eq!(*seen.lock(), [expected]);
}

#[tokio::test]
async fn five_redirects_are_followed_and_a_sixth_is_not() {
    let server = Server::start(|request| {
        let left: u32 = request.uri().path()[1..].parse().unwrap();
        match left {
            0 => answer(200, &[], "there"),
            left => answer(302, &[("location", &format!("/{}", left - 1))], ""),
        }
    })
    .await;
    let internet = Internet::new(server.address, NAMES);
    let fewer = FetchLimits {
        redirects: 2,
        ..FetchLimits::default()
    };
    for (limits, limit) in [(FetchLimits::default(), 5), (fewer, 2)] {
        let client = client(&internet, &[], limits);
        let url = |redirects: usize| format!("http://a.example/{redirects}");
        let got = client.send(get(&url(limit))).await.unwrap();
        assert_eq!((got.body, got.redirects), ("there".into(), limit));
        assert_eq!(got.url.as_str(), "http://a.example/0");
        let error = client.send(get(&url(limit + 1))).await.unwrap_err();
        assert_eq!(error, Error::Redirects { limit });
    }
}

#[tokio::test]
async fn secrets_stay_with_the_server_they_were_meant_for() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let server = Server::start(move |request| {
        let secret = request.headers().contains_key(header::AUTHORIZATION);
        log.lock().push((
            request.headers()[header::HOST].to_str().unwrap().to_owned(),
            secret,
        ));
        match request.uri().path() {
            "/1" => answer(307, &[("location", "/2")], ""),
            "/2" => answer(307, &[("location", "http://b.example/3")], ""),
            _ => answer(200, &[], ""),
        }
    })
    .await;
    let internet = Internet::new(server.address, NAMES);
    let mut request = get("http://a.example/1");
    request
        .headers
        .insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    client(&internet, &[], FetchLimits::default())
        .send(request)
        .await
        .unwrap();
    let seen: Vec<_> = seen
        .lock()
        .iter()
        .map(|(host, secret)| (host.clone(), *secret))
        .collect();
    let (a, b) = ("a.example".to_owned(), "b.example".to_owned());
    assert_eq!(seen, [(a.clone(), true), (a, true), (b, false)]);
}

#[tokio::test]
async fn a_post_becomes_a_get_where_redirects_say_so() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let server = Server::start(move |request| {
        let path = request.uri().path().to_owned();
        log.lock().push((path.clone(), request.method().clone()));
        match path.as_str() {
            "/end" => answer(200, &[], ""),
            code => answer(code[1..].parse().unwrap(), &[("location", "/end")], ""),
        }
    })
    .await;
    let internet = Internet::new(server.address, NAMES);
    let client = client(&internet, &[], FetchLimits::default());
    for (code, method) in [
        (301, Method::GET),
        (302, Method::GET),
        (303, Method::GET),
        (307, Method::POST),
        (308, Method::POST),
    ] {
        let mut request = get(&format!("http://a.example/{code}"));
        request.method = Method::POST;
        request.body = "x".into();
        client.send(request).await.unwrap();
        assert_eq!(
            seen.lock().pop(),
            Some(("/end".to_owned(), method)),
            "{code}"
        );
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_taken() {
    let server = Server::start(|_| answer(200, &[], &"x".repeat(1_001))).await;
    let internet = Internet::new(server.address, NAMES);
    let ask = async |body| {
        let limits = FetchLimits {
            body,
            ..FetchLimits::default()
        };
        client(&internet, &[], limits)
            .send(get("http://a.example/"))
            .await
    };
    assert_eq!(ask(1_001).await.unwrap().body.len(), 1_001);
    assert_eq!(
        ask(1_000).await.unwrap_err(),
        Error::TooLarge { limit: 1_000 }
    );
}

#[tokio::test]
async fn a_server_that_trickles_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.write_all(b"H").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let internet = Internet::new(address, NAMES);
    let after = Duration::from_millis(300);
    let mut request = get("http://a.example/");
    request.time = Some(after);
    let error = client(&internet, &[], FetchLimits::default())
        .send(request)
        .await
        .unwrap_err();
    // `HH` is no HTTP: which of the two is noticed first does not matter.
    assert!(
        matches!(error, Error::Timeout { .. } | Error::Protocol { .. }),
        "{error}"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_server_that_does_not_finish_connecting_is_given_up_in_time() {
    // It accepts, and says nothing of TLS.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let internet = Internet::new(listener.local_addr().unwrap(), NAMES);
    let limits = FetchLimits {
        connect: Duration::from_millis(200),
        ..FetchLimits::default()
    };
    let began = Instant::now();
    let error = client(&internet, &[], limits)
        .send(get("https://a.example/"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("0.2 s"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(4), "not after 5 s");
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let internet = Internet::new(address, NAMES);
    let client = client(&internet, &[], FetchLimits::default());
    let error = client.send(get("http://a.example/")).await.unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { .. }) && error.is_transient(),
        "{error}"
    );
    let error = client
        .send(get("http://nobody.example/"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Unresolved { .. }) && error.is_transient(),
        "{error}"
    );
}
