//! What a router makes of an instance's words about its load and about other attempts, and of one
//! that takes long: on both data planes, with real servers in this process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use discovery::{Discovery as _, Registration, backends::Memory};
use futures_util::{FutureExt as _, future::BoxFuture, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use proto::agentplatform::{TaskRequest, TaskResponse, agent_service_client::AgentServiceClient};
use service::ServerHandle;
use testkit::local;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Status, body::Body, metadata::MetadataMap, server::NamedService, transport::Server,
};
use tonic_prost::ProstCodec;

const PLANES: [&str; 2] = ["relay", "hyper"];

/// An instance that answers every call so, and remembers the heads of those it got.
#[derive(Clone)]
struct Instance {
    delay: Duration,
    /// Fields of its trailers; with a status that is not 0, of an answer that is nothing else.
    trailers: HeaderMap,
    heads: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Instance {
    fn new(fields: &[(&'static str, &'static str)]) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", 0.into());
        for (name, value) in fields {
            trailers.insert(*name, value.parse().unwrap());
        }
        Self {
            delay: Duration::ZERO,
            trailers,
            heads: Arc::default(),
        }
    }

    fn slow(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::new(&[])
        }
    }

    fn calls(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    /// What it was told of attempts before, call by call.
    fn previous(&self) -> Vec<Option<String>> {
        let text = |head: &HeaderMap| {
            let value = head.get("grpc-previous-rpc-attempts")?;
            Some(value.to_str().unwrap().to_owned())
        };
        self.heads.lock().unwrap().iter().map(text).collect()
    }
}

impl NamedService for Instance {
    const NAME: &'static str = "agentplatform.AgentService";
}

impl tower::Service<Request<Body>> for Instance {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        async move {
            let (head, body) = request.into_parts();
            this.heads.lock().unwrap().push(head.headers);
            body.collect().await.ok();
            sleep(this.delay).await;
            let mut response = Response::new(Body::empty());
            if this.trailers["grpc-status"] == "0" {
                // An empty TaskResponse.
                let message = Frame::data(Bytes::from_static(&[0; 5]));
                let frames = [message, Frame::trailers(this.trailers)].map(Ok::<_, Status>);
                *response.body_mut() = Body::new(StreamBody::new(stream::iter(frames)));
            } else {
                *response.headers_mut() = this.trailers;
            }
            let grpc = http::HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", grpc);
            Ok(response)
        }
        .boxed()
    }
}

/// The Meta of an instance that serves it, with these besides.
fn announced(besides: &[(&str, &str)]) -> BTreeMap<String, String> {
    let services = [("grpc_services", Instance::NAME)];
    let all = services.iter().chain(besides);
    all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A router with these settings before instances `i0`, `i1` and so on of `agent-probe`.
struct World {
    memory: Arc<Memory>,
    router: ServerHandle,
    channel: tonic::transport::Channel,
    _servers: JoinSet<()>,
}

impl World {
    async fn start(plane: &str, settings: &[(&str, &str)], instances: &[&Instance]) -> Self {
        let memory = Arc::new(Memory::new());
        let mut servers = JoinSet::new();
        for (number, instance) in instances.iter().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let registration = Registration {
                tags: vec!["agent".into()],
                meta: announced(&[("idempotent", "*")]),
                ..local::registration(&format!("i{number}"), "agent-probe", address)
            };
            memory.register(&registration).await.unwrap();
            let server = Server::builder().add_service((*instance).clone());
            servers.spawn(async move {
                let incoming = TcpListenerStream::new(listener);
                server.serve_with_incoming(incoming).await.unwrap();
            });
        }
        let set = [&[("data_plane", plane)], settings].concat();
        let router = local::start(&router::SPEC, router::build, &memory, &set).await;
        Self {
            channel: local::connect(&router).await,
            memory,
            router,
            _servers: servers,
        }
    }

    /// Calls; who answered, and the metadata of the answer.
    async fn call(&self) -> Result<(String, MetadataMap), Status> {
        let request = TaskRequest {
            agent_id: "probe-agent".into(),
            ..TaskRequest::default()
        };
        let mut client = AgentServiceClient::new(self.channel.clone());
        let answer = client.execute_task(request).await?;
        let by = answer.metadata().get("x-mesh-instance").unwrap();
        let by = by.to_str().unwrap();
        Ok((by.to_owned(), answer.metadata().clone()))
    }

    /// Calls a method that is found by its gRPC service, unless the metadata says otherwise.
    async fn call_by_path(&self, service: Option<&'static str>) -> Result<(), Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        let path = "/agentplatform.AgentService/Other".parse().unwrap();
        let codec = ProstCodec::<TaskRequest, TaskResponse>::default();
        let mut request = tonic::Request::new(TaskRequest::default());
        if let Some(service) = service {
            let service = service.parse().unwrap();
            request.metadata_mut().insert("x-mesh-service", service);
        }
        client.unary(request, path, codec).await.map(drop)
    }

    async fn end(self) {
        self.router.drain().await;
    }
}

#[tokio::test]
async fn calls_follow_the_capacity_that_instances_report_in_their_trailers() {
    const BINARY: &str = "endpoint-load-metrics-bin";
    for plane in PLANES {
        // cpu_utilization 0.25 at rps_fractional 75: it could serve 300.
        let strong = Instance::new(&[(BINARY, "CQAAAAAAANA/MQAAAAAAwFJA")]);
        // 0.75 at 75: it could serve 100.
        let weak = Instance::new(&[(BINARY, "CQAAAAAAAOg/MQAAAAAAwFJA")]);
        let settings = [("lb_policy", "load_aware"), ("load_blackout", "0s")];
        let world = World::start(plane, &settings, &[&strong, &weak]).await;
        for _ in 0..8 {
            let (_, metadata) = world.call().await.unwrap();
            assert!(metadata.contains_key(BINARY), "{plane}: passed on");
        }
        // Weights are made anew each second.
        sleep(Duration::from_millis(1100)).await;
        let before = (strong.calls(), weak.calls());
        for _ in 0..200 {
            world.call().await.unwrap();
        }
        let (most, least) = (strong.calls() - before.0, weak.calls() - before.1);
        assert_eq!(most + least, 200);
        assert!((47..=53).contains(&least), "{plane}: {most} and {least}");
        world.end().await;
    }
}

#[tokio::test]
async fn a_slow_instances_calls_are_answered_by_another_when_hedged() {
    for plane in PLANES {
        let slow = Instance::slow(Duration::from_secs(30));
        let fast = Instance::new(&[]);
        let settings = [("hedge_delay", "50ms"), ("silence", "60s")];
        let world = World::start(plane, &settings, &[&slow, &fast]).await;
        for _ in 0..6 {
            assert_eq!(world.call().await.unwrap().0, "i1", "{plane}");
        }
        assert!(slow.calls() > 0, "{plane}");
        assert!(slow.previous().iter().all(Option::is_none));
        let second = fast.previous().iter().flatten().count();
        assert_eq!((second, fast.calls()), (slow.calls(), 6), "{plane}");
        world.end().await;
    }
}

#[tokio::test]
async fn a_pushback_says_when_another_attempt_may_come_and_whether() {
    const PUSHBACK: &str = "grpc-retry-pushback-ms";
    for plane in PLANES {
        for pushback in ["300", "-1"] {
            let failing = Instance::new(&[("grpc-status", "14"), (PUSHBACK, pushback)]);
            let good = Instance::new(&[]);
            let world = World::start(plane, &[], &[&failing, &good]).await;
            let mut codes = Vec::new();
            let mut longest = Duration::ZERO;
            // At least one of two in turn meets the failing one.
            for _ in 0..2 {
                let began = std::time::Instant::now();
                let outcome = world.call().await;
                codes.push(outcome.map_or_else(|status| status.code(), |_| Code::Ok));
                longest = longest.max(began.elapsed());
            }
            let failed = codes.iter().filter(|code| **code != Code::Ok).count();
            let told: Vec<_> = good.previous().into_iter().flatten().collect();
            let what = format!("{plane}, {pushback}: {codes:?} in {longest:?}");
            assert!(failing.calls() > 0, "{what}");
            if pushback == "-1" {
                assert_eq!((failed, told.len()), (failing.calls(), 0), "{what}");
            } else {
                assert_eq!(
                    (failed, told),
                    (0, vec!["1".to_owned(); failing.calls()]),
                    "{what}"
                );
                assert!(longest >= Duration::from_millis(300), "{what}");
            }
            world.end().await;
        }
    }
}

#[tokio::test]
async fn requests_that_are_repeated_go_where_the_mesh_says_by_then() {
    for plane in PLANES {
        let instance = Instance::new(&[]);
        let world = World::start(plane, &[], &[&instance]).await;
        let call = async |service| match world.call_by_path(service).await {
            Ok(()) => Code::Ok,
            Err(status) => status.code(),
        };
        let becomes = async |code: Code| {
            let asked = async {
                while call(None).await != code {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            let asked = tokio::time::timeout(Duration::from_secs(5), asked).await;
            asked.unwrap_or_else(|_| panic!("{plane}: never {code:?}"));
            for _ in 0..5 {
                assert_eq!(call(None).await, code, "{plane}");
            }
        };
        becomes(Code::Ok).await;
        assert_eq!(call(Some("nobody")).await, Code::NotFound, "{plane}");
        assert_eq!(call(None).await, Code::Ok, "{plane}");
        // Another service has the same methods: the caller has to say which is meant.
        let address = "127.0.0.1:9".parse().unwrap();
        let other = Registration {
            tags: vec!["agent".into()],
            meta: announced(&[]),
            ..local::registration("other", "agent-other", address)
        };
        world.memory.register(&other).await.unwrap();
        becomes(Code::FailedPrecondition).await;
        assert_eq!(call(Some("agent-probe")).await, Code::Ok, "{plane}");
        world.memory.deregister("other").await.unwrap();
        becomes(Code::Ok).await;
        world.memory.deregister("i0").await.unwrap();
        becomes(Code::Unimplemented).await;
        world.end().await;
    }
}
