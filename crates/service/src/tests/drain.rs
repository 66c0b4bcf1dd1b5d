//! What a drain does, and in which order.

use super::*;

#[tokio::test]
async fn while_it_drains_every_way_to_ask_says_so_and_its_own_streams_end_first() {
    let set = [("drain_delay", "500ms"), ("drain_timeout", "1m")];
    let (running, _) = running(&set).await;
    let (grpc, admin_addr) = (running.grpc_addr, running.admin_addr);
    let (mut health, channel) = {
        let channel = channel(&running).await;
        (HealthClient::new(channel.clone()), channel)
    };
    let ask = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut known = health.watch(ask("")).await.unwrap().into_inner();
    let mut unknown = health.watch(ask("nope.Nope")).await.unwrap().into_inner();
    let first = async |stream: &mut tonic::Streaming<tonic_health::pb::HealthCheckResponse>| {
        stream.message().await.unwrap().unwrap().status()
    };
    assert_eq!(first(&mut known).await, ServingStatus::Serving);
    assert_eq!(first(&mut unknown).await, ServingStatus::ServiceUnknown);
    let (questions, asked) = tokio::sync::mpsc::channel(1);
    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    questions.send(list).await.unwrap();
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let mut reflection = ServerReflectionClient::new(channel);
    let answers = reflection.server_reflection_info(asked).await.unwrap();
    let mut answers = answers.into_inner();
    answers.message().await.unwrap().unwrap();

    let begun = tokio::time::Instant::now();
    let mut draining = JoinSet::new();
    draining.spawn(running.drain());
    assert_eq!(first(&mut known).await, ServingStatus::NotServing);
    for path in ["/readyz", "/readyz/", "/health", "/"] {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            let told = h2(grpc, method.clone(), path).await.unwrap().0;
            assert_eq!(told, StatusCode::NOT_FOUND, "{method} {path}");
            let told = admin(admin_addr, method.clone(), path, "").await.0;
            assert_eq!(told, StatusCode::NOT_FOUND, "admin: {method} {path}");
        }
    }
    // Each of them ends with a status, and none of them was cut.
    assert!(known.message().await.is_err());
    assert!(unknown.message().await.is_err());
    assert!(answers.message().await.is_err());
    assert_eq!(draining.join_next().await.unwrap().unwrap().cut, 0);
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_call_in_flight_finishes_while_nothing_new_is_wanted() {
    let (running, memory) = running(&[("drain_delay", "200ms")]).await;
    let (grpc, admin_addr, id) = (
        running.grpc_addr,
        running.admin_addr,
        running.instance_id.clone(),
    );
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { h2(grpc, Method::POST, "/test.Test/Slow").await });
    until(async || running.active_calls() == 1).await;
    let mut drain = JoinSet::new();
    drain.spawn(running.drain());
    until(async || {
        let ready = h2(grpc, Method::GET, "/readyz").await.unwrap().0;
        ready == StatusCode::NOT_FOUND && !memory.is_registered(&id).await.unwrap()
    })
    .await;
    assert_eq!(
        h2(grpc, Method::GET, "/healthz").await.unwrap().0,
        StatusCode::OK
    );
    assert_eq!(
        admin(admin_addr, Method::GET, "/readyz", "").await.0,
        StatusCode::NOT_FOUND
    );
    // It still serves those who have not heard yet.
    assert!(h2(grpc, Method::POST, "/test.Test/Fast").await.is_some());

    let (_, headers) = tasks
        .join_next()
        .await
        .unwrap()
        .unwrap()
        .expect("the call finishes");
    assert_eq!(headers["grpc-status"], "5");
    assert_eq!(drain.join_next().await.unwrap().unwrap().cut, 0);
    assert!(
        TcpStream::connect(grpc).await.is_err(),
        "the port is closed"
    );
}

#[tokio::test]
async fn calls_that_never_end_are_cut_at_the_deadline_and_counted() {
    let (running, _) = running(&[("drain_timeout", "100ms")]).await;
    let grpc = running.grpc_addr;
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        tasks.spawn(async move { h2(grpc, Method::POST, "/test.Test/Never").await });
    }
    until(async || running.active_calls() == 3).await;
    let registry = running.context().registry.clone();
    assert_eq!(running.drain().await.cut, 3);
    while let Some(answer) = tasks.join_next().await {
        assert!(answer.unwrap().is_none());
    }
    let cancelled = "rpc_server_call_duration_seconds_count\
                     {rpc_method=\"_OTHER\",rpc_response_status_code=\"CANCELLED\"}";
    assert_eq!(registry.sample(cancelled), Some(3.0));
}

#[tokio::test]
async fn a_health_watch_does_not_hold_up_a_drain() {
    let (running, _) = running(&[("drain_timeout", "60s")]).await;
    let mut client = HealthClient::new(channel(&running).await);
    let mut watch = client
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let status = watch.message().await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::Serving);
    let drained = tokio::time::timeout(Duration::from_secs(5), running.drain()).await;
    assert_eq!(
        drained
            .expect("a drain that does not wait for the watch")
            .cut,
        0
    );
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
}
