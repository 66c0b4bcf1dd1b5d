//! What the registry is told of an instance, and when it is ready.

use super::*;

#[tokio::test]
async fn a_registration_that_was_lost_is_made_again() {
    let (running, memory) = running(&[("weight", "7")]).await;
    memory.clear();
    until(async || memory.is_registered(&running.instance_id).await.unwrap()).await;
    running.drain().await;
}

#[tokio::test]
async fn the_registration_tells_what_the_mesh_wants_to_know() {
    let (running, memory) = running(&[("weight", "7")]).await;
    let mut watch = memory.watch("agent-test");
    let snapshot = watch
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone()
        .unwrap();
    let instance = snapshot.instances.first().unwrap();
    assert_eq!(&*instance.key.id, running.instance_id);
    assert!(running.instance_id.starts_with("test-agent-"));
    assert_eq!(instance.authority(), running.grpc_addr.to_string());
    assert_eq!(
        (instance.kind(), instance.public_id()),
        (ServiceKind::Agent, "test-agent".to_owned())
    );
    assert_eq!((instance.weight, instance.health), (7, Health::Passing));
    assert_eq!(instance.version(), "1.2.3");
    assert_eq!(
        instance.meta["admin_port"],
        running.admin_addr.port().to_string()
    );
    assert_eq!(
        instance.grpc_services().unwrap(),
        ["agentplatform.AgentService"]
    );
    assert!(instance.is_idempotent("agentplatform.AgentService/GetStatus"));
    running.drain().await;
}

#[tokio::test]
async fn several_instances_run_in_one_process() {
    let memory = Arc::new(Memory::new());
    let first = start(&SPEC, config(&[]), memory.clone(), build)
        .await
        .unwrap();
    let second = start(&SPEC, config(&[]), memory.clone(), build)
        .await
        .unwrap();
    assert_ne!(first.instance_id, second.instance_id);
    assert_ne!(first.grpc_addr, second.grpc_addr);
    first.drain().await;
    assert!(h2(second.grpc_addr, Method::GET, "/readyz").await.is_some());
    second.drain().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_it() {
    let (running, memory) = running(&[]).await;
    for (key, taken, variable) in [
        ("port", running.grpc_addr, SPEC.port_env),
        ("metrics_port", running.admin_addr, "METRICS_PORT"),
    ] {
        let port = taken.port().to_string();
        let error = start(&SPEC, config(&[(key, &port)]), memory.clone(), build)
            .await
            .unwrap_err()
            .to_string();
        let expected = format!("listen on 127.0.0.1:{port}");
        assert!(
            error.contains(&expected) && error.contains(variable),
            "{error}"
        );
    }
    running.drain().await;
}

#[tokio::test]
async fn an_instance_is_ready_when_its_own_checks_say_so_and_health_says_the_same() {
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = Arc::clone(&ready);
    let build = move |context: &Context| {
        let is_ready = move || seen.load(std::sync::atomic::Ordering::Relaxed);
        let problem = move || (!is_ready()).then(|| "waiting for the registry".to_owned());
        context.conditions.add_check("registry", problem);
        build(context)
    };
    let running = start(&SPEC, config(&[]), Arc::new(Memory::new()), build)
        .await
        .unwrap();
    let (grpc, admin_addr) = (running.grpc_addr, running.admin_addr);
    let mut health = HealthClient::new(channel(&running).await);
    let mut status = async || {
        let answer = health.check(HealthCheckRequest::default()).await;
        answer.unwrap().into_inner().status()
    };
    let told = async |path: &str| h2(grpc, Method::GET, path).await.unwrap().0;
    assert_eq!(told("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(told("/healthz").await, StatusCode::OK);
    let (code, reason) = admin(admin_addr, Method::GET, "/readyz", "").await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reason.contains("waiting for the registry"), "{reason}");
    until(async || status().await == ServingStatus::NotServing).await;
    ready.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(told("/readyz").await, StatusCode::OK);
    until(async || status().await == ServingStatus::Serving).await;
    running.drain().await;
}
