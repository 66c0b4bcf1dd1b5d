//! Who is named, and by whom: the instance, the caller, the authority.

use tonic::Code;

use crate::{
    by_hand,
    world::{Instance, Reply, World, call},
};

#[tokio::test]
async fn the_instance_that_answered_is_named_by_the_mesh_alone() {
    const NAME: &str = "x-mesh-instance";
    let world = World::start().await;
    let own = Reply::good().head(NAME, "somebody").trailer(NAME, "else");
    let failing = Reply::page(200)
        .head("grpc-status", "9")
        .head(NAME, "somebody")
        .head(NAME, "else");
    for (service, reply) in [("own", own), ("failing", failing)] {
        let instance = Instance::start(reply).await;
        world.register(service, false, &[instance.address]).await;
        let mut raw = world.raw().await;
        let answer = call(&mut raw, service, "M", &[]).await;
        let named: Vec<_> = answer.headers.get_all(NAME).iter().collect();
        assert_eq!(named, [&format!("{service}-0")]);
        assert!(
            answer
                .status
                .metadata()
                .get(NAME)
                .is_none_or(|name| name.as_bytes() == named[0].as_bytes())
        );
        // Nobody is named by nothing, and an error by what is no text.
        let answer = call(&mut raw, service, "Slow", &[(NAME, "")]).await;
        assert_eq!(answer.status.code(), Code::Ok);
        let calls = [vec![(NAME, "b\u{fc}cher")], vec![(NAME, "")]];
        let codes = by_hand::call(world.router.grpc_addr, service, &calls).await;
        let own = if service == "own" {
            Code::Ok
        } else {
            Code::FailedPrecondition
        };
        assert_eq!(codes, [Some(Code::InvalidArgument), Some(own)]);
    }
    world.end().await;
}

#[tokio::test]
async fn who_calls_for_which_job_is_not_for_clients_to_say() {
    let world = World::start().await;
    let instance = Instance::start(Reply::good()).await;
    world.register("shop", false, &[instance.address]).await;
    let said = [
        ("x-mesh-caller", "root"),
        ("x-mesh-job", "job-1"),
        ("x-mesh-hedged-call", "0"),
        ("x-mesh-other", "kept"),
    ];
    let answer = call(&mut world.raw().await, "shop", "M", &said).await;
    assert_eq!(answer.status.code(), Code::Ok);
    let heads = instance.heads();
    assert_eq!(heads.len(), 1);
    assert!(!heads[0].contains_key("x-mesh-caller"));
    assert!(!heads[0].contains_key("x-mesh-job"));
    assert!(!heads[0].contains_key("x-mesh-hedged-call"));
    assert_eq!(heads[0]["x-mesh-other"], "kept");
    world.end().await;
}

#[tokio::test]
async fn authorities_that_are_no_hosts_are_no_mistake() {
    let odd = [
        Some("localhost:50051"),
        Some("127.0.0.1:1,127.0.0.1:2"),
        Some("services%2Fecho"),
        Some(":50051"),
        Some("[fe80::1%25eth0]:50051"),
        Some("me@a"),
        None,
        Some("b\u{fc}cher:1"),
        Some(""),
        Some("good"),
    ];
    // Hedged calls go another way.
    for hedge_delay in ["0s", "10s"] {
        let world = World::with(&[("hedge_delay", hedge_delay)]).await;
        let instances = [
            Instance::start(Reply::good()).await,
            Instance::start(Reply::good()).await,
        ];
        let addresses = instances.each_ref().map(|instance| instance.address);
        world.register("shop", true, &addresses).await;
        let calls =
            odd.map(|authority| authority.map(|it| (":authority", it)).into_iter().collect());
        let codes = by_hand::call(world.router.grpc_addr, "shop", &calls).await;
        let all: Vec<_> = odd.iter().zip(codes).collect();
        assert!(
            all.iter().all(|(_, code)| *code == Some(Code::Ok)),
            "{hedge_delay}: {all:?}"
        );
        let calls: usize = instances.iter().map(Instance::calls).sum();
        assert_eq!(calls, odd.len(), "{hedge_delay}");
        world.end().await;
    }
}
