//! How a call finds its service while the registry changes, and before it has answered.

use std::sync::Arc;

use discovery::{Discovery as _, backends::Memory};
use http::StatusCode;
use prost::Message as _;
use proto::agentplatform::TaskRequest;
use testkit::until;
use tonic::Code;

use crate::{
    by_hand,
    world::{Instance, Reply, SOON, World, port, registration},
};

/// Calls a method that is found by its gRPC service, unless a service is named.
async fn call(world: &World, service: Option<&str>) -> Code {
    let named: Vec<_> = service
        .map(|it| ("x-mesh-service", it))
        .into_iter()
        .collect();
    let answer = world.raw().await.call("/t.S/M", &named, &[]).await;
    answer.status.code()
}

#[tokio::test]
async fn requests_that_are_repeated_go_where_the_mesh_says_by_then() {
    let world = World::start().await;
    let instance = Instance::start(Reply::good()).await;
    world.register("shop", true, &[instance.address]).await;
    let becomes = async |code: Code| {
        until(&format!("the answer is {code:?}"), SOON, async || {
            (call(&world, None).await == code).then_some(())
        })
        .await;
        for _ in 0..5 {
            assert_eq!(call(&world, None).await, code);
        }
    };
    becomes(Code::Ok).await;
    assert_eq!(call(&world, Some("nobody")).await, Code::NotFound);
    assert_eq!(call(&world, None).await, Code::Ok);
    // Another service has the same methods: the caller has to say which is meant.
    let other = registration("other", "market", false, "127.0.0.1:9".parse().unwrap());
    world.memory.register(&other).await.unwrap();
    becomes(Code::FailedPrecondition).await;
    assert_eq!(call(&world, Some("shop")).await, Code::Ok);
    world.memory.deregister("other").await.unwrap();
    becomes(Code::Ok).await;
    world.memory.deregister("shop-0").await.unwrap();
    becomes(Code::Unimplemented).await;
    world.end().await;
}

#[tokio::test]
async fn an_authority_that_is_read_before_the_registry_has_answered_names_the_service() {
    let task = TaskRequest::default().encode_to_vec();
    let message = testkit::raw::frame(&task);
    // The message names nobody, so that the authority decides; or no message is read at all.
    for path in ["/agentplatform.AgentService/ExecuteTask", "/t.S/M"] {
        until("a head is read early enough", SOON, async || {
            let (silent, _tasks) = port(|_stream| std::future::pending()).await;
            let instance = Instance::start(Reply::good()).await;
            let memory = Arc::new(Memory::new());
            // The directory waits for the reflection of one that does not announce what it serves.
            let mut unknown = registration("silent", "silent", false, silent);
            unknown.meta.clear();
            memory.register(&unknown).await.unwrap();
            let shop = registration("shop-0", "shop", false, instance.address);
            memory.register(&shop).await.unwrap();
            let world = World::of(memory, &[]).await;
            let calls = [vec![(":authority", "shop:50051")]];
            let stream = by_hand::send(world.router.grpc_addr, path, &message, &calls).await;
            // By its answer the router has read what came before.
            let health = "/grpc.health.v1.Health/Check";
            world.raw().await.call(health, &[], &[]).await;
            let (readiness, _) = world.router.context().conditions.readiness();
            let codes = by_hand::statuses(stream, 1).await;
            assert_eq!(codes, [Some(Code::Ok)], "{path}");
            assert_eq!(instance.calls(), 1, "{path}");
            world.end().await;
            (readiness == StatusCode::SERVICE_UNAVAILABLE).then_some(())
        })
        .await;
    }
}
