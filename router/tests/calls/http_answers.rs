//! Instances that answer in HTTP, and not in gRPC.

use tonic::Code;

use crate::world::{Instance, Reply, World, call, info};

#[tokio::test]
async fn an_answer_of_http_is_told_as_grpc_maps_it() {
    let table = [
        (200, Code::Unknown),
        (302, Code::Unknown),
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (500, Code::Unknown),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
    ];
    let world = World::start().await;
    for (status, code) in table {
        let instance = Instance::start(Reply::page(status)).await;
        let service = format!("page-{status}");
        world.register(&service, false, &[instance.address]).await;
        let answer = call(&mut world.raw().await, &service, "M", &[]).await;
        let what = format!("{status}: {:?}", answer.status);
        assert_eq!(answer.status.code(), code, "{what}");
        let words = format!("{service}-0 answered with HTTP status {status}");
        assert!(answer.status.message().contains(&words), "{what}");
        assert_eq!(info(&answer).metadata["http_status"], status.to_string());
        assert_eq!(answer.headers["x-mesh-instance"], format!("{service}-0"));
        assert_eq!(instance.calls(), 1, "{what}");
    }
    // What has a status of gRPC is an answer of gRPC, whatever is around it.
    let status = Reply::page(503).head("grpc-status", "5");
    let instance = Instance::start(status).await;
    world.register("both", false, &[instance.address]).await;
    let answer = call(&mut world.raw().await, "both", "M", &[]).await;
    assert_eq!(answer.status.code(), Code::NotFound);
    world.end().await;
}

#[tokio::test]
async fn an_instance_that_answers_with_pages_of_errors_is_left_alone() {
    let world = World::start().await;
    for (status, idempotent) in [(503, false), (503, true), (500, false), (200, false)] {
        let bad = Instance::start(Reply::page(status)).await;
        let good = [
            Instance::start(Reply::good()).await,
            Instance::start(Reply::good()).await,
        ];
        let all = [bad.address, good[0].address, good[1].address];
        let service = format!("shop-{status}-{idempotent}");
        world.register(&service, idempotent, &all).await;
        let mut raw = world.raw().await;
        let mut failed = 0;
        for _ in 0..60 {
            let answer = call(&mut raw, &service, "M", &[]).await;
            failed += usize::from(answer.status.code() != Code::Ok);
        }
        let what = format!("{status}, {idempotent}: {failed} failed");
        assert_eq!(bad.calls(), 5, "{what}");
        assert_eq!(failed, if idempotent { 0 } else { 5 }, "{what}");
    }
    world.end().await;
}
