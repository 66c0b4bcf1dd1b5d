//! What an instance says reaches the caller as it was said.

use bytes::Bytes;
use http::{HeaderMap, Response};
use mesh_channel::ClusterOptions;

use crate::{
    server::{self, begin, echo, handler, read},
    support::{Call, MS, World},
};

#[tokio::test]
async fn an_answer_of_trailers_only_passes_untouched() {
    let world = World::new(ClusterOptions::default());
    let refuses = handler(|mut call: server::Call| async move {
        let answer = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", 9)
            .header("grpc-message", "not%20now")
            .header("grpc-status-details-bin", "CAkSB25vdCBub3c")
            .header("x-own", "a")
            .header("x-own", "b");
        let answer = answer.body(()).unwrap();
        call.respond.send_response(answer, true).unwrap();
    });
    let _servers = world.start([refuses]).await;
    let answer = world.call(Call::default()).await.unwrap();
    assert_eq!((answer.code(), answer.http.as_u16()), (9, 200));
    assert_eq!(answer.headers["grpc-message"], "not%20now");
    assert_eq!(answer.headers["grpc-status-details-bin"], "CAkSB25vdCBub3c");
    let own: Vec<_> = answer.headers.get_all("x-own").iter().collect();
    assert_eq!(own, ["a", "b"]);
    assert!(answer.body.is_empty() && answer.trailers.is_empty());
}

/// tonic's clients panic at them: see `proto::details`.
#[tokio::test]
async fn details_that_are_not_base64_are_left_out() {
    for details in ["!", "CAM_", "CA\tM", "A"] {
        let world = World::new(ClusterOptions::default());
        let refuses = handler(move |mut call: server::Call| async move {
            let trailers_only = call.request.headers().contains_key("x-trailers-only");
            let mut status = HeaderMap::new();
            status.insert("grpc-status", 9.into());
            status.insert("grpc-message", "not%20now".parse().unwrap());
            status.insert("grpc-status-details-bin", details.parse().unwrap());
            if trailers_only {
                let mut answer = Response::new(());
                *answer.headers_mut() = status;
                call.respond.send_response(answer, true).unwrap();
            } else {
                begin(&mut call).send_trailers(status).unwrap();
            }
        });
        let _servers = world.start([refuses]).await;
        for call in [
            Call::default(),
            Call::default().header("x-trailers-only", "1"),
        ] {
            let answer = world.call(call).await.unwrap();
            assert_eq!(answer.code(), 9);
            for headers in [&answer.headers, &answer.trailers] {
                assert!(
                    !headers.contains_key("grpc-status-details-bin"),
                    "{details}"
                );
            }
        }
    }
}

#[tokio::test]
async fn metadata_messages_and_trailers_pass_untouched_both_ways() {
    let world = World::new(ClusterOptions::default());
    let copies = handler(|mut call: server::Call| async move {
        let body = read(&mut call).await.unwrap();
        let mut answer = Response::new(());
        for name in ["x-trace-bin", "grpc-encoding", "te", "content-type"] {
            let value = call.request.headers()[name].clone();
            answer.headers_mut().insert(
                match name {
                    "te" => "x-te",
                    name => name,
                },
                value,
            );
        }
        let mut stream = call.respond.send_response(answer, false).unwrap();
        stream.send_data(body, false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", 3.into());
        trailers.insert("grpc-status-details-bin", "CAM".parse().unwrap());
        trailers.insert("x-own", "last".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    });
    let _servers = world.start([copies]).await;
    // A compressed message, larger than a window: the channel neither reads nor changes it.
    let body: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let call = Call::default()
        .header("x-trace-bin", "AAEC")
        .header("grpc-encoding", "gzip")
        .body(body.clone());
    let answer = world.call(call).await.unwrap();
    assert!(answer.body == body);
    assert_eq!(answer.headers["x-trace-bin"], "AAEC");
    assert_eq!(answer.headers["grpc-encoding"], "gzip");
    assert_eq!(answer.headers["x-te"], "trailers");
    assert_eq!(answer.trailers["grpc-status"], "3");
    assert_eq!(answer.trailers["grpc-status-details-bin"], "CAM");
    assert_eq!(answer.trailers["x-own"], "last");
}

#[tokio::test]
async fn an_answer_that_breaks_midway_ends_with_a_status() {
    for (reason, code) in [
        (h2::Reason::INTERNAL_ERROR, 13),
        (h2::Reason::CANCEL, 1),
        (h2::Reason::ENHANCE_YOUR_CALM, 8),
    ] {
        let world = World::new(ClusterOptions::default());
        let breaks = handler(move |mut call: server::Call| async move {
            let mut stream = begin(&mut call);
            tokio::time::sleep(50 * MS).await;
            stream.send_reset(reason);
        });
        let _servers = world.start([breaks]).await;
        let answer = world.call(Call::default()).await.unwrap();
        assert_eq!((answer.code(), &answer.body[..]), (code, &b"first"[..]));
        assert!(answer.trailers.contains_key("grpc-status-details-bin"));
    }
}

#[tokio::test]
async fn an_instance_that_dies_midway_leaves_the_status_unavailable() {
    let world = World::new(ClusterOptions::default());
    let begins = handler(|mut call: server::Call| async move {
        let _stream = begin(&mut call);
        std::future::pending::<()>().await;
    });
    let servers = world.start([begins]).await;
    let dies = async {
        tokio::time::sleep(100 * MS).await;
        drop(servers);
    };
    let (answer, ()) = tokio::join!(world.call(Call::default()), dies);
    let answer = answer.unwrap();
    assert_eq!((answer.code(), &answer.body[..]), (14, &b"first"[..]));
}

#[tokio::test]
async fn an_early_answer_ends_the_upload() {
    let world = World::new(ClusterOptions::default());
    let early = handler(|call: server::Call| async move {
        if call.seen.headers.lock().len() > 1 {
            return echo(call).await;
        }
        // The rest of the request is never read.
        server::answer(call, Bytes::from_static(b"enough"), 0);
    });
    let servers = world.start([early]).await;
    let answer = world.call(Call::default().body(vec![0; 1 << 20])).await;
    let answer = answer.unwrap();
    assert_eq!((answer.code(), &answer.body[..]), (0, &b"enough"[..]));
    assert_eq!(world.call(Call::default()).await.unwrap().code(), 0);
    assert_eq!(servers[0].connections(), 1);
}
