//! An instance that does what a test tells it, down to single HTTP/2 frames.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// One call as the instance sees it.
pub(crate) struct Call {
    pub(crate) request: Request<RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
    pub(crate) seen: Arc<Seen>,
}

/// What the instance has seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Calls, health checks left out.
    pub(crate) calls: AtomicUsize,
    /// Connections, those that ended too.
    pub(crate) connections: AtomicUsize,
    /// Connections that are open.
    pub(crate) open: AtomicUsize,
    /// The headers of the calls.
    pub(crate) headers: Mutex<Vec<HeaderMap>>,
    /// The reasons with which callers reset streams, where the handler waits for that.
    pub(crate) resets: Mutex<Vec<h2::Reason>>,
}

pub(crate) type Handler = Arc<dyn Fn(Call) -> BoxFuture<'static, ()> + Send + Sync>;

/// A handler of an async function.
pub(crate) fn handler<F, R>(f: F) -> Handler
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |call| Box::pin(f(call)))
}

/// An instance. It dies, connections and all, when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    paused: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(handler: Handler) -> Self {
        Self::start_with(handler, "127.0.0.1:0".parse().unwrap(), None).await
    }

    /// At an address, with a limit of streams on each connection.
    pub(crate) async fn start_with(
        handler: Handler,
        address: SocketAddr,
        streams: Option<u32>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let (paused, pause) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let noted = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (seen, handler, pause) =
                    (Arc::clone(&noted), Arc::clone(&handler), pause.clone());
                connections.spawn(async move {
                    seen.connections.fetch_add(1, Ordering::SeqCst);
                    seen.open.fetch_add(1, Ordering::SeqCst);
                    connection(socket, &handler, streams, pause, &seen).await;
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            seen,
            paused,
            _tasks: tasks,
        }
    }

    /// Like SIGSTOP: the kernel goes on accepting and acknowledging, nobody answers.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }
}

async fn connection(
    socket: TcpStream,
    handler: &Handler,
    streams: Option<u32>,
    mut pause: watch::Receiver<bool>,
    seen: &Arc<Seen>,
) {
    if pause.wait_for(|paused| !paused).await.is_err() {
        return;
    }
    let mut builder = h2::server::Builder::new();
    builder.max_local_error_reset_streams(None);
    builder.max_pending_accept_reset_streams(5000);
    if let Some(streams) = streams {
        builder.max_concurrent_streams(streams);
    }
    let Ok(mut connection) = builder.handshake(socket).await else {
        return;
    };
    let mut calls = JoinSet::new();
    loop {
        if pause.wait_for(|paused| !paused).await.is_err() {
            return;
        }
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            _ = pause.wait_for(|paused| *paused) => continue,
        };
        let Some(Ok((request, respond))) = accepted else {
            return;
        };
        let health = request.uri().path().starts_with("/grpc.health.v1.Health/");
        let call = Call {
            request,
            respond,
            seen: Arc::clone(seen),
        };
        if health {
            calls.spawn(status(call, 12));
            continue;
        }
        seen.calls.fetch_add(1, Ordering::SeqCst);
        seen.headers.lock().push(call.request.headers().clone());
        calls.spawn(handler(call));
    }
}

fn head() -> http::response::Builder {
    Response::builder().header("content-type", "application/grpc")
}

/// Answers with nothing but a status.
pub(crate) async fn status(mut call: Call, code: i32) {
    let answer = head().header("grpc-status", code).body(()).unwrap();
    // The caller may be gone.
    call.respond.send_response(answer, true).ok();
}

/// Reads the request to its end.
pub(crate) async fn read(call: &mut Call) -> Result<Bytes, h2::Error> {
    let body = call.request.body_mut();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok(all.into())
}

/// Gives the request back, with status 0 in the trailers.
pub(crate) async fn echo(mut call: Call) {
    let Ok(body) = read(&mut call).await else {
        return;
    };
    answer(call, body, 0);
}

/// A whole answer: metadata, one message, trailers.
pub(crate) fn answer(mut call: Call, body: Bytes, code: i32) {
    let Ok(mut stream) = call.respond.send_response(head().body(()).unwrap(), false) else {
        return;
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    if stream.send_data(body, false).is_ok() {
        stream.send_trailers(trailers).ok();
    }
}

/// Begins an answer: metadata and one message; what follows is up to the test.
pub(crate) fn begin(call: &mut Call) -> h2::SendStream<Bytes> {
    let answer = head().body(()).unwrap();
    let mut stream = call.respond.send_response(answer, false).unwrap();
    stream
        .send_data(Bytes::from_static(b"first"), false)
        .unwrap();
    stream
}

/// Echoes after a time.
pub(crate) fn slow(time: Duration) -> Handler {
    handler(move |call| async move {
        tokio::time::sleep(time).await;
        echo(call).await;
    })
}

/// Begins an answer and stops there; notes with what reason the caller resets the stream.
pub(crate) async fn stop_midway(mut call: Call) {
    let mut stream = begin(&mut call);
    let reset = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
    call.seen.resets.lock().extend(reset);
}

/// Never answers; notes with what reason the caller resets the stream.
pub(crate) async fn hang(mut call: Call) {
    let reset = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
    call.seen.resets.lock().extend(reset);
}
