//! What every program answers on its gRPC port.

use super::*;

#[tokio::test]
async fn gzip_is_taken_and_answered_by_every_service_of_our_own() {
    let (running, _) = running(&[("max_message_bytes", "64KiB")]).await;
    let health = tonic_health::pb::HealthCheckRequest {
        service: String::new(),
    };
    // tonic's own client, which compresses what it sends and understands what it gets.
    let mut client = HealthClient::new(channel(&running).await)
        .send_compressed(tonic::codec::CompressionEncoding::Gzip)
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip);
    let answer = client.check(health).await.unwrap();
    let said = answer.metadata().get("grpc-encoding").cloned();
    assert_eq!(said.unwrap(), "gzip");
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    let bomb = HealthCheckRequest {
        service: "x".repeat(1 << 20),
    };
    let refused = client.check(bomb).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    running.drain().await;
}

#[tokio::test]
async fn metadata_over_the_limit_is_refused_with_the_key_to_raise() {
    let (running, _) = running(&[("max_header_bytes", "2KiB")]).await;
    let mut health = HealthClient::new(channel(&running).await);
    let mut check = async |length: usize| {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        let value = "v".repeat(length).parse().unwrap();
        request.metadata_mut().insert("x-large", value);
        health.check(request).await
    };
    check(1024).await.unwrap();
    let refused = check(2048).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    assert!(
        refused.message().contains("max_header_bytes = 2048"),
        "{refused}"
    );
    running.drain().await;
}

#[tokio::test]
async fn readiness_is_answered_on_the_grpc_port_over_http2() {
    let (running, _) = running(&[]).await;
    for path in ["/readyz", "/healthz"] {
        assert_eq!(
            h2(running.grpc_addr, Method::GET, path).await.unwrap().0,
            StatusCode::OK
        );
    }
    running.drain().await;
}

#[tokio::test]
async fn health_and_reflection_are_answered_beside_a_raw_service() {
    let (running, _) = running(&[]).await;
    let channel = channel(&running).await;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "agentplatform.AgentService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let answers = reflection
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("expected a list of services");
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        names.contains(&"agentplatform.AgentService".to_owned()),
        "{names:?}"
    );
    assert!(
        !names.contains(&"agentplatform.ToolService".to_owned()),
        "{names:?}"
    );
    running.drain().await;
}

#[tokio::test]
async fn calls_are_counted_by_method_and_status() {
    let (running, _) = running(&[]).await;
    let mut health = HealthClient::new(channel(&running).await);
    health.check(HealthCheckRequest::default()).await.unwrap();
    health
        .check(HealthCheckRequest {
            service: "none".to_owned(),
        })
        .await
        .unwrap_err();
    h2(running.grpc_addr, Method::POST, "/made.Up/Method")
        .await
        .unwrap();
    let (status, text) = admin(running.admin_addr, Method::GET, "/metrics", "").await;
    assert_eq!(status, StatusCode::OK);
    for (method, code) in [
        ("grpc.health.v1.Health/Check", "OK"),
        ("grpc.health.v1.Health/Check", "NOT_FOUND"),
        ("_OTHER", "NOT_FOUND"),
    ] {
        let line = format!(
            "rpc_server_call_duration_seconds_count\
             {{rpc_method=\"{method}\",rpc_response_status_code=\"{code}\"}} 1\n"
        );
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    running.drain().await;
}

#[tokio::test]
async fn the_callers_deadline_ends_a_stream_at_the_instance() {
    let (running, _) = running(&[]).await;
    let stream = TcpStream::connect(running.grpc_addr).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut client, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    // By hand, since tonic's client would watch the deadline itself. An empty message: "".
    let request = |timeout: &str| {
        Request::post(format!(
            "http://{}/grpc.health.v1.Health/Watch",
            running.grpc_addr
        ))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", timeout)
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .unwrap()
    };
    let body = client
        .send_request(request("100m"))
        .await
        .unwrap()
        .into_body();
    let whole = body.collect().await.unwrap();
    assert_eq!(whole.trailers().unwrap()["grpc-status"], "4");
    let refused = client.send_request(request("soon")).await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "3");
    running.drain().await;
}
