//! A registry, a mesh over it, and calls.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use discovery::{Check, Discovery as _, Instance, Registration, backends::Memory};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use mesh_channel::{ClusterOptions, Error, Mesh, ResponseBody, ServedBy, Target};
use telemetry::MetricsRegistry;

use crate::server::{Handler, Server};

pub(crate) const SERVICE: &str = "agent-test";
pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) struct World {
    pub(crate) memory: Arc<Memory>,
    pub(crate) mesh: Mesh,
    pub(crate) registry: MetricsRegistry,
}

/// The answer to a call, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) by: String,
    pub(crate) http: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    /// The `grpc-status`, wherever it stands; -1 when there is none.
    pub(crate) fn code(&self) -> i32 {
        let status = self.trailers.get("grpc-status");
        status
            .or_else(|| self.headers.get("grpc-status"))
            .and_then(|s| s.to_str().ok()?.parse().ok())
            .unwrap_or(-1)
    }
}

pub(crate) fn registration(id: &str, address: SocketAddr) -> Registration {
    Registration {
        id: id.to_owned(),
        service: SERVICE.to_owned(),
        host: address.ip().to_string(),
        port: address.port(),
        tags: vec!["agent".to_owned()],
        meta: BTreeMap::new(),
        weight_passing: 1,
        weight_warning: 1,
        check: Check::Grpc,
        check_interval: Duration::from_secs(10),
        deregister_after: Duration::from_secs(60),
    }
}

impl World {
    pub(crate) fn new(options: ClusterOptions) -> Self {
        let memory = Arc::new(Memory::new());
        let registry = MetricsRegistry::new();
        let mesh = Mesh::new(memory.clone(), options, &registry);
        Self {
            memory,
            mesh,
            registry,
        }
    }

    pub(crate) async fn register(&self, id: &str, address: SocketAddr) {
        let registration = registration(id, address);
        self.memory.register(&registration).await.unwrap();
    }

    /// Instances `i0`, `i1` and so on, one for each handler.
    pub(crate) async fn start(&self, handlers: impl IntoIterator<Item = Handler>) -> Vec<Server> {
        let mut servers = Vec::new();
        for (index, handler) in handlers.into_iter().enumerate() {
            let server = Server::start(handler).await;
            self.register(&format!("i{index}"), server.address).await;
            servers.push(server);
        }
        servers
    }

    pub(crate) async fn open(&self, request: Call) -> Result<(String, Open), Error> {
        let (target, request) = request.build();
        let response = self.mesh.call(&target, request, |_| {}).await?;
        let ServedBy(instance) = response.extensions().get().expect("always there");
        Ok((instance.key.id.to_string(), response))
    }

    pub(crate) async fn call(&self, request: Call) -> Result<Answer, Error> {
        let (by, response) = self.open(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("errors become trailers");
        Ok(Answer {
            by,
            http: parts.status,
            headers: parts.headers,
            trailers: body.trailers().cloned().unwrap_or_default(),
            body: body.to_bytes(),
        })
    }

    /// How many of `calls` calls, one after another, each instance answers with status 0.
    pub(crate) async fn tally(&self, calls: usize) -> BTreeMap<String, usize> {
        let mut tally = BTreeMap::new();
        for _ in 0..calls {
            let answer = self.call(Call::default()).await.unwrap();
            assert_eq!(answer.code(), 0, "{answer:?}");
            *tally.entry(answer.by).or_default() += 1;
        }
        tally
    }

    /// Waits until the mesh knows this many instances.
    pub(crate) async fn until_known(&self, count: usize) {
        let known = || self.mesh.endpoints(SERVICE).len();
        until("the registry is followed", || known() == count).await;
    }

    /// Waits until an instance has this many calls in flight.
    pub(crate) async fn until_in_flight(&self, id: &str, count: u32) {
        let is_busy = || {
            let endpoints = self.mesh.endpoints(SERVICE);
            let mut of_id = endpoints.iter().filter(|it| &*it.key.id == id);
            of_id.any(|it| it.in_flight == count)
        };
        until("the calls are in flight", is_busy).await;
    }

    /// Waits until so many instances are usable.
    pub(crate) async fn until_usable(&self, count: f64) {
        let usable = || self.metric("mesh_balance_endpoints", "state=\"usable\"");
        until("they are usable, and the others not", || usable() == count).await;
    }

    /// Waits until calls go by a registration of this instance.
    pub(crate) async fn until_registered(&self, id: &str, is: impl Fn(&Instance) -> bool) {
        let began = Instant::now();
        loop {
            let (_, response) = self.open(Call::to(id)).await.unwrap();
            let ServedBy(instance) = response.extensions().get().expect("always there");
            if is(instance) {
                return;
            }
            assert!(began.elapsed() < 3000 * MS, "not within 3 s: {instance:?}");
        }
    }

    /// The value of a counter or gauge of the test's service.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let series = format!("{name}{{service=\"{SERVICE}\",{label}}}");
        self.registry.sample(&series).unwrap_or(0.0)
    }
}

pub(crate) type Open = http::Response<ResponseBody>;

/// A call to be made.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) target: Target,
    headers: HeaderMap,
    body: Bytes,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            target: Target::service(SERVICE),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"\0\0\0\0\x05hello"),
        }
    }
}

impl Call {
    pub(crate) fn to(id: &str) -> Self {
        let mut call = Self::default();
        call.target = call.target.instance(id);
        call
    }

    pub(crate) fn session(mut self, id: &str) -> Self {
        self.target = self.target.session(id);
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        let value = http::HeaderValue::from_static(value);
        self.headers.insert(name, value);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    fn build(self) -> (Target, Request<tonic::body::Body>) {
        let body = tonic::body::Body::new(Full::new(self.body));
        let mut request = Request::post("/test.Service/Method").body(body).unwrap();
        *request.headers_mut() = self.headers;
        let grpc = http::HeaderValue::from_static("application/grpc");
        request.headers_mut().insert("content-type", grpc);
        (self.target, request)
    }
}

/// Waits until something holds, for 3 s at most.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < 3000 * MS, "not within 3 s: {what}");
        tokio::time::sleep(5 * MS).await;
    }
}

/// Whether a time is `expected`, give or take what a busy machine costs.
pub(crate) fn about(began: Instant, expected: Duration) -> bool {
    let elapsed = began.elapsed();
    elapsed >= expected.saturating_sub(5 * MS) && elapsed < expected + 300 * MS
}
