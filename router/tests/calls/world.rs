//! A router, the instances that it knows, and callers.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use discovery::{Discovery as _, Registration, backends::Memory};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use parking_lot::Mutex;
use proto::error_info::{self, ErrorInfo};
use service::ServerHandle;
use testkit::{
    local,
    raw::{RawConnection, RawResponse},
    until,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tonic::Code;

/// The limit of what is waited for.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A gRPC message of no bytes.
pub(crate) const MESSAGE: Bytes = Bytes::from_static(&[0; 5]);

type Fields = Vec<(&'static str, String)>;

/// How an instance answers: after which time, then status and fields of the head, then a message and
/// trailers or nothing.
#[derive(Clone)]
pub(crate) struct Reply {
    delay: Duration,
    status: u16,
    head: Fields,
    /// What follows the head where no trailers do; nothing where it is empty.
    page: &'static [u8],
    trailers: Option<Fields>,
}

impl Reply {
    pub(crate) fn good() -> Self {
        Self {
            delay: Duration::ZERO,
            status: 200,
            head: vec![("content-type", "application/grpc".to_owned())],
            page: b"",
            trailers: Some(vec![("grpc-status", "0".to_owned())]),
        }
    }

    /// A page of HTTP with this status.
    pub(crate) fn page(status: u16) -> Self {
        Self {
            status,
            head: vec![("content-type", "text/html".to_owned())],
            page: b"<html>",
            trailers: None,
            ..Self::good()
        }
    }

    /// An answer that is nothing but this status of gRPC.
    pub(crate) fn failure(code: Code) -> Self {
        let reply = Self {
            trailers: None,
            ..Self::good()
        };
        reply.head("grpc-status", &(code as i32).to_string())
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    pub(crate) fn head(mut self, name: &'static str, value: &str) -> Self {
        self.head.push((name, value.to_owned()));
        self
    }

    pub(crate) fn trailer(mut self, name: &'static str, value: &str) -> Self {
        let trailers = self.trailers.get_or_insert_default();
        trailers.push((name, value.to_owned()));
        self
    }

    async fn send(self, mut respond: h2::server::SendResponse<Bytes>) {
        sleep(self.delay).await;
        let mut head = Response::new(());
        *head.status_mut() = self.status.try_into().unwrap();
        *head.headers_mut() = headers(&self.head);
        let alone = self.trailers.is_none() && self.page.is_empty();
        let Ok(mut body) = respond.send_response(head, alone) else {
            return;
        };
        // A client that has seen enough has reset it.
        let Some(trailers) = &self.trailers else {
            drop(body.send_data(Bytes::from_static(self.page), true));
            return;
        };
        drop(body.send_data(MESSAGE, false));
        drop(body.send_trailers(headers(trailers)));
    }
}

fn headers(fields: &Fields) -> HeaderMap {
    let pair = |(name, value): &(&'static str, String)| {
        let value = HeaderValue::from_str(value).unwrap();
        (HeaderName::from_static(name), value)
    };
    fields.iter().map(pair).collect()
}

/// An instance. The methods `Slow`, after 300 ms, and `Probe` are answered well and not counted. Every
/// other one is answered as its reply says.
pub(crate) struct Instance {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<HeaderMap>>>,
    _tasks: JoinSet<()>,
}

impl Instance {
    pub(crate) async fn start(reply: Reply) -> Self {
        Self::with_limit(reply, 1 << 24).await
    }

    /// One that takes so many bytes of metadata.
    pub(crate) async fn with_limit(reply: Reply, limit: u32) -> Self {
        let heads = Arc::<Mutex<Vec<_>>>::default();
        let seen = Arc::clone(&heads);
        let (address, tasks) =
            port(move |stream| serve(stream, limit, reply.clone(), Arc::clone(&seen))).await;
        Self {
            address,
            heads,
            _tasks: tasks,
        }
    }

    /// The heads of the calls that it got.
    pub(crate) fn heads(&self) -> Vec<HeaderMap> {
        self.heads.lock().clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.heads.lock().len()
    }

    /// What it was told of attempts before, call by call.
    pub(crate) fn previous_attempts(&self) -> Vec<Option<String>> {
        let text = |head: &HeaderMap| {
            let value = head.get("grpc-previous-rpc-attempts")?;
            Some(value.to_str().unwrap().to_owned())
        };
        self.heads.lock().iter().map(text).collect()
    }
}

async fn serve(stream: TcpStream, limit: u32, reply: Reply, seen: Arc<Mutex<Vec<HeaderMap>>>) {
    let mut builder = h2::server::Builder::new();
    builder.max_header_list_size(limit);
    let Ok(mut connection) = builder.handshake(stream).await else {
        return;
    };
    let mut answers = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        let reply = if path.ends_with("/Slow") {
            Reply::good().after(Duration::from_millis(300))
        } else if path.ends_with("/Probe") || path.contains("Health") {
            Reply::good()
        } else {
            seen.lock().push(request.headers().clone());
            reply.clone()
        };
        answers.spawn(reply.send(respond));
    }
}

/// A port whose peer treats each connection so.
pub(crate) async fn port<F>(
    treat: impl Fn(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, JoinSet<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(treat(stream));
        }
    });
    (address, tasks)
}

/// A router, and services that are known to it.
pub(crate) struct World {
    pub(crate) memory: Arc<Memory>,
    pub(crate) router: ServerHandle,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(&[("queue_timeout", "1s")]).await
    }

    /// With these settings of the router.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::of(Arc::default(), settings).await
    }

    /// With a registry that has entries already.
    pub(crate) async fn of(memory: Arc<Memory>, settings: &[(&str, &str)]) -> Self {
        let router = local::start(&router::SPEC, router::build, &memory, settings).await;
        Self { memory, router }
    }

    /// Registers instances `SERVICE-0` and so on, and waits until the router knows them.
    pub(crate) async fn register(&self, service: &str, idempotent: bool, at: &[SocketAddr]) {
        for (number, address) in at.iter().enumerate() {
            let id = format!("{service}-{number}");
            let registration = registration(&id, service, idempotent, *address);
            self.memory.register(&registration).await.unwrap();
        }
        let mut raw = self.raw().await;
        until("the router knows the service", SOON, async || {
            let answer = call(&mut raw, service, "Probe", &[]).await;
            (answer.status.code() != Code::NotFound).then_some(())
        })
        .await;
    }

    pub(crate) async fn raw(&self) -> RawConnection {
        RawConnection::connect(self.router.grpc_addr).await
    }

    pub(crate) async fn end(self) {
        self.router.drain().await;
    }
}

/// An instance that announces the gRPC service `t.S`, and whether its methods may run twice.
pub(crate) fn registration(
    id: &str,
    service: &str,
    idempotent: bool,
    address: SocketAddr,
) -> Registration {
    let idempotent = if idempotent { "*" } else { "" };
    let meta = [("grpc_services", "t.S"), ("idempotent", idempotent)];
    let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    Registration {
        tags: vec!["grpc".into()],
        meta: meta.into_iter().map(text).collect::<BTreeMap<_, _>>(),
        ..local::registration(id, service, address)
    }
}

/// Calls a method of a service, which the metadata names.
pub(crate) async fn call(
    raw: &mut RawConnection,
    service: &str,
    method: &str,
    more: &[(&str, &str)],
) -> RawResponse {
    let metadata = [&[("x-mesh-service", service)], more].concat();
    raw.call(&format!("/t.S/{method}"), &metadata, &[]).await
}

pub(crate) fn info(answer: &RawResponse) -> ErrorInfo {
    error_info::read(&answer.status).unwrap()
}
