//! The admin listener, and the ports of HTTP programs.

use super::*;

#[tokio::test]
async fn the_admin_listener_answers_operators() {
    let (running, _) = running(&[("consul_http_token", "hunter2")]).await;
    let ask = async |method, path, body| admin(running.admin_addr, method, path, body).await;
    assert_eq!(ask(Method::GET, "/healthz", "").await.0, StatusCode::OK);
    assert_eq!(ask(Method::GET, "/readyz", "").await.0, StatusCode::OK);
    let (status, config) = ask(Method::GET, "/config", "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        config.ends_with("}\n"),
        "a prompt stands on a line of its own"
    );
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["drain_timeout"]["value"], "15s");
    assert_eq!(config["drain_timeout"]["source"], "default");
    assert_eq!(config["consul_http_token"]["value"], "(secret)");
    assert_eq!(
        ask(Method::PUT, "/log-level", "loud").await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        ask(Method::POST, "/metrics", "").await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        ask(Method::GET, "/nothing", "").await.0,
        StatusCode::NOT_FOUND
    );
    running.drain().await;
}

#[tokio::test]
async fn an_http_program_is_asked_by_http_and_finishes_answers_in_its_drain() {
    let slow = tower::service_fn(|request: Request<crate::RequestBody>| async move {
        let peer = request.extensions().get::<crate::PeerAddr>().copied();
        assert!(peer.is_some_and(|peer| peer.0.ip().is_loopback()));
        sleep(Duration::from_millis(300)).await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("done"))))
    });
    let running = start(&SPEC, config(&[]), Arc::new(Memory::new()), |_| {
        Ok(Services::new().http(slow))
    })
    .await
    .unwrap();
    let stream = TcpStream::connect(running.grpc_addr).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::get("/x").body(Full::<Bytes>::default()).unwrap();
    let answer = client.send_request(request);
    let drained = async {
        until(async || running.active_calls() == 1).await;
        running.drain().await
    };
    let (answer, drained) = tokio::join!(answer, drained);
    let body = answer.unwrap().into_body().collect().await.unwrap();
    assert_eq!(&body.to_bytes()[..], b"done");
    assert_eq!(drained.cut, 0);
}

/// A program whose port and admin listener both answer HTTP.
async fn http_program(set: &[(&str, &str)]) -> ServerHandle {
    let hello = tower::service_fn(|_: Request<crate::RequestBody>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
    });
    start(&SPEC, config(set), Arc::new(Memory::new()), |_| {
        Ok(Services::new().http(hello))
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn connections_of_every_port_grow_old() {
    let running = http_program(&[("max_connection_age", "100ms")]).await;
    for port in [running.grpc_addr, running.admin_addr] {
        let stream = TcpStream::connect(port).await.unwrap();
        let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let request = Request::get("/healthz").header("host", "localhost");
        let request = request.body(Full::<Bytes>::default()).unwrap();
        client.send_request(request).await.unwrap();
        // It is idle, and is closed long before `keep_alive`.
        let closed = tokio::time::timeout(Duration::from_secs(5), tasks.join_next()).await;
        assert!(closed.is_ok());
    }
    running.drain().await;
}

#[tokio::test]
async fn profiles_are_served_on_a_port_of_their_own_where_the_keys_ask_for_it() {
    let (off, _) = running(&[]).await;
    assert_eq!(off.pprof_addr, None);
    let set = [
        ("enable_pprof", "yes"),
        ("pprof_port", "0"),
        ("pprof_address", "127.0.0.1"),
    ];
    let (on, _) = running(&set).await;
    let address = on.pprof_addr.unwrap();
    assert!(address.ip().is_loopback());
    let (status, body) = admin(address, Method::GET, "/debug/pprof/", "").await;
    assert_eq!(status, 200, "{body}");
    for name in ["profile", "heap", "allocs", "goroutine"] {
        assert!(body.contains(&format!("/debug/pprof/{name}")), "{body}");
    }
    let (status, body) = admin(address, Method::GET, "/debug/pprof/profile?seconds=x", "").await;
    assert_eq!(status, 400);
    assert!(
        body.contains("seconds=x: expected a whole number"),
        "{body}"
    );
    assert_eq!(
        admin(address, Method::GET, "/debug/pprof/threads", "")
            .await
            .0,
        404
    );
    let (status, body) = admin(address, Method::GET, "/debug/pprof/profile?seconds=1", "").await;
    let expected = if profile::BUILT_IN { 200 } else { 501 };
    assert_eq!(status, expected, "{body}");
    assert!(
        profile::BUILT_IN || body.contains("PPROF=1 make build"),
        "{body}"
    );
}
