//! Metadata that somebody does not take ends its own call only.

use http::{HeaderName, HeaderValue};
use tokio::task::JoinSet;
use tonic::Code;

use crate::world::{Instance, MESSAGE, Reply, World, call, info};

#[tokio::test]
async fn an_answer_with_too_much_metadata_ends_its_own_call_only() {
    let world = World::start().await;
    for length in [70_000, 400_000] {
        let large = "m".repeat(length);
        let replies = [
            Reply::good().head("x-large", &large),
            Reply::good().trailer("x-large", &large),
            Reply::page(200)
                .head("grpc-status", "3")
                .head("grpc-message", &large),
        ];
        for (number, reply) in replies.into_iter().enumerate() {
            let instances = [
                Instance::start(reply.clone()).await,
                Instance::start(reply).await,
            ];
            let addresses = [instances[0].address, instances[1].address];
            let service = format!("shop-{length}-{number}");
            world.register(&service, true, &addresses).await;
            no_other_loses(&world, &service, &instances).await;
        }
    }
    world.end().await;
}

/// Calls two instances whose answers have too much metadata, while others call them too.
async fn no_other_loses(world: &World, service: &str, instances: &[Instance; 2]) {
    let mut others = JoinSet::new();
    for _ in 0..4 {
        let (mut other, service) = (world.raw().await, service.to_owned());
        others.spawn(async move { call(&mut other, &service, "Slow", &[]).await });
    }
    let mut raw = world.raw().await;
    // More than would eject an instance.
    for calls in 1..=12 {
        let answer = call(&mut raw, service, "M", &[]).await;
        assert_eq!(answer.status.code(), Code::ResourceExhausted, "{service}");
        assert_eq!(info(&answer).metadata["key"], "max_header_bytes");
        let asked: usize = instances.iter().map(Instance::calls).sum();
        assert_eq!(asked, calls, "{service}: it is not sent again");
    }
    while let Some(other) = others.join_next().await {
        assert_eq!(other.unwrap().status.code(), Code::Ok, "{service}");
    }
    let before = instances.each_ref().map(Instance::calls);
    for _ in 0..4 {
        call(&mut raw, service, "M", &[]).await;
    }
    let after = instances.each_ref().map(Instance::calls);
    assert!(before.iter().zip(after).all(|(n, m)| *n < m), "{service}");
}

#[tokio::test]
async fn a_request_with_too_much_metadata_ends_its_own_call_only() {
    let world = World::start().await;
    let instance = Instance::start(Reply::good()).await;
    world.register("shop", false, &[instance.address]).await;
    let mut raw = world.raw().await;
    let metadata = [("x-mesh-service", "shop")];
    let other = raw.begin("/t.S/Slow", &metadata, MESSAGE, true).await;
    for length in [70_000, 200_000, 900_000] {
        let large = "v".repeat(length);
        let answer = call(&mut raw, "shop", "M", &[("x-large", &large)]).await;
        let what = format!("{length}: {:?}", answer.status);
        assert_eq!(answer.status.code(), Code::ResourceExhausted, "{what}");
        assert_eq!(info(&answer).metadata["key"], "max_header_bytes", "{what}");
        assert!(
            answer.status.message().contains("max_header_bytes"),
            "{what}"
        );
    }
    assert_eq!(instance.calls(), 0);
    assert_eq!(other.answer().await.status.code(), Code::Ok);
    let fits = "v".repeat(60_000);
    let answer = call(&mut raw, "shop", "M", &[("x-large", &fits)]).await;
    assert_eq!(answer.status.code(), Code::Ok);
    world.end().await;
}

#[tokio::test]
async fn metadata_that_an_instance_does_not_take_ends_its_own_call_only() {
    let world = World::start().await;
    // As much as servers of tonic and hyper take.
    let instance = Instance::with_limit(Reply::good(), 16 * 1024).await;
    world.register("shop", true, &[instance.address]).await;
    let mut raw = world.raw().await;
    let metadata = [("x-mesh-service", "shop")];
    let other = raw.begin("/t.S/Slow", &metadata, MESSAGE, true).await;
    let large = "v".repeat(20_000);
    for _ in 0..7 {
        let answer = call(&mut raw, "shop", "M", &[("x-large", &large)]).await;
        let what = format!("{:?}", answer.status);
        assert_eq!(answer.status.code(), Code::ResourceExhausted, "{what}");
    }
    assert_eq!(instance.calls(), 0);
    assert_eq!(other.answer().await.status.code(), Code::Ok);
    let answer = call(&mut raw, "shop", "M", &[]).await;
    assert_eq!(answer.status.code(), Code::Ok);
    world.end().await;
}

#[tokio::test]
async fn the_routers_own_errors_stay_small_whatever_was_asked() {
    let world = World::start().await;
    for name in ["n".repeat(3000), "%20".repeat(1000)] {
        let mut raw = world.raw().await;
        let answer = call(&mut raw, &name, "M", &[]).await;
        assert_eq!(answer.status.code(), Code::NotFound);
        let size =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 32;
        let size: usize = answer.headers.iter().map(size).sum();
        assert!(size < 8 * 1024, "{size} bytes");
    }
    world.end().await;
}
