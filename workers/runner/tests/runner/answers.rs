//! Answers that have no form in JSON: the method has run, and is not run again.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use jobs::JobStatus;
use prost::Message as _;
use prost_types::{
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};
use serde_json::{Value, json};
use service::{ServiceKind as Is, Services, Spec};
use testkit::local;
use tonic::{body::Body, server::NamedService};

use crate::support::{Stage, result};

/// Answers each method with bytes of its own, and counts.
#[derive(Clone, Default)]
struct Odd(Arc<AtomicUsize>);

impl NamedService for Odd {
    const NAME: &'static str = "odd.Odd";
}

impl tower::Service<Request<Body>> for Odd {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.fetch_add(1, SeqCst);
        Box::pin(async move {
            let message = match request.uri().path() {
                "/odd.Odd/Any" => prost_types::Any {
                    type_url: "x/nobody.Knows".to_owned(),
                    value: vec![8, 1],
                }
                .encode_to_vec(),
                "/odd.Odd/Time" => vec![8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
                // Field 1 is a text, and this is no UTF-8.
                "/odd.Odd/Text" => vec![10, 1, 0xff],
                _ => vec![0; 5 << 20],
            };
            let silent = request.uri().path() == "/odd.Odd/Nothing";
            request.into_body().collect().await.ok();
            let length = u32::try_from(message.len()).unwrap();
            let frame = match silent {
                true => Vec::new(),
                false => [&[0], &length.to_be_bytes()[..], &message].concat(),
            };
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let body = Full::new(Bytes::from(frame)).with_trailers(async { Some(Ok(trailers)) });
            let mut response = Response::new(Body::new(body));
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", grpc);
            Ok(response)
        })
    }
}

/// What reflection says of it.
fn descriptors() -> &'static [u8] {
    let method = |name: &str, output: &str| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(".google.protobuf.Empty".to_owned()),
        output_type: Some(format!(".google.protobuf.{output}")),
        ..MethodDescriptorProto::default()
    };
    let dependency = ["any", "empty", "timestamp", "wrappers"];
    let file = FileDescriptorProto {
        name: Some("odd.proto".to_owned()),
        package: Some("odd".to_owned()),
        syntax: Some("proto3".to_owned()),
        dependency: dependency
            .map(|name| format!("google/protobuf/{name}.proto"))
            .to_vec(),
        service: vec![ServiceDescriptorProto {
            name: Some("Odd".to_owned()),
            method: vec![
                method("Any", "Any"),
                method("Time", "Timestamp"),
                method("Text", "StringValue"),
                method("Large", "BytesValue"),
                method("Nothing", "BytesValue"),
            ],
            options: None,
        }],
        ..FileDescriptorProto::default()
    };
    let mut pool = prost_reflect::DescriptorPool::global();
    pool.add_file_descriptor_proto(file).unwrap();
    let file = pool.file_descriptor_protos().cloned().collect();
    FileDescriptorSet { file }.encode_to_vec().leak()
}

#[tokio::test]
async fn an_answer_without_a_form_in_json_is_an_answer() {
    let (odd, spec) = (
        Odd::default(),
        Spec {
            program: "odd",
            service: "odd",
            kind: Is::Service,
            ..echo_agent::SPEC
        },
    );
    let calls = odd.0.clone();
    let build = |_: &service::Context| Ok(Services::new().service(odd).descriptors(descriptors()));
    let (running, _) = local::start_alone(&spec, build, &[]).await;
    let stage = Stage::set("0s").await;
    let instances = format!("odd={}", running.grpc_addr);
    let _runner = stage.runner(&[("FIXED_INSTANCES", &instances)]).await;
    let call = |method: &str| json!({"service": "odd", "method": format!("odd.Odd/{method}"), "payload": {}});
    let table: [(&str, Value); 3] = [
        ("Any", json!({"@type": "x/nobody.Knows", "value": "CAE="})),
        ("Time", json!({"seconds": "72057594037927935", "nanos": 0})),
        (
            "Text",
            json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "CgH/"}),
        ),
    ];
    for (number, (method, expected)) in table.into_iter().enumerate() {
        let record = stage
            .ended(&stage.submit("call", &call(method)).await)
            .await;
        assert_eq!(result(&record), expected, "{method}");
        assert_eq!(calls.load(SeqCst), number + 1, "{method}");
    }
    // More than is taken, and nothing at all, is no answer, and would be none the next time.
    for (method, count) in [("Large", 4), ("Nothing", 5)] {
        let record = stage
            .ended(&stage.submit("call", &call(method)).await)
            .await;
        assert_eq!(
            (record.status, record.header.attempt, calls.load(SeqCst)),
            (JobStatus::Dead, 1, count),
            "{method}"
        );
    }
    running.drain().await;
}
