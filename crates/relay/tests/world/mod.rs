//! A driver on its own thread, `h2` servers as its instances, `h2` clients before it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test takes what it needs"
)]

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
    server::SendResponse,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use mesh_relay::{
    Cause, Config, Ended, Endpoint, Engine, Failure, Host, Id, Verdict,
    driver::{self, Command, DialFuture, Dialed, Stream, Transport},
    hpack::Block,
};
use parking_lot::Mutex;
use tokio::{
    io::{DuplexStream, duplex},
    runtime::Builder,
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::support::{Kept, Log, Plain};

const PIPE: usize = 64 * 1024;

/// What is put between an instance and the relay.
pub type Wrap = fn(DuplexStream) -> Box<dyn Stream>;

/// How an instance treats the next call.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Serve,
    Reset(Reason),
}

/// What the instances are told, and what they tell.
#[derive(Default)]
struct Stage {
    script: Mutex<VecDeque<Answer>>,
    dialed: AtomicUsize,
    left: AtomicUsize,
    cancelled: Notify,
    go_away: Notify,
    cut: Mutex<Option<watch::Sender<()>>>,
    limit: u32,
    log: Arc<Mutex<Log>>,
    /// What the next dials open, before the instances.
    dials: Mutex<VecDeque<Box<dyn Stream>>>,
    /// Between the instances and the relay.
    wrap: Mutex<Option<Wrap>>,
}

struct Director {
    plain: Plain,
    stage: Arc<Stage>,
    servers: mpsc::Sender<DuplexStream>,
}

pub struct World {
    stage: Arc<Stage>,
    commands: mpsc::Sender<Command<Director>>,
    cut: Mutex<Option<oneshot::Receiver<usize>>>,
    _tasks: Mutex<JoinSet<()>>,
}

impl Host for Director {
    type Call = Kept;

    fn on_request(&mut self, call: Id, client: Id, request: &Block, end: bool) -> (Kept, Verdict) {
        self.plain.on_request(call, client, request, end)
    }
    fn on_request_data(&mut self, call: &mut Kept, bytes: &[u8], end: bool) -> Verdict {
        self.plain.on_request_data(call, bytes, end)
    }
    fn on_send(&mut self, call: &mut Kept, to: Endpoint, extra: &mut Block) {
        self.plain.on_send(call, to, extra);
    }
    fn on_response(&mut self, call: &mut Kept, response: &Block, extra: &mut Block) {
        self.plain.on_response(call, response, extra);
    }
    fn on_attempt_failed(&mut self, call: &mut Kept, failure: Failure) -> Verdict {
        self.plain.on_attempt_failed(call, failure)
    }
    fn response_aborted(&mut self, call: &mut Kept, cause: Cause) -> Block {
        self.plain.response_aborted(call, cause)
    }
    fn on_end(&mut self, call: Kept, ended: Ended) {
        self.plain.on_end(call, ended);
    }
}

impl Transport for Director {
    fn dial(&mut self, _to: Endpoint, _preface: &Arc<[u8]>) -> DialFuture {
        self.stage.dialed.fetch_add(1, Ordering::SeqCst);
        if let Some(stream) = self.stage.dials.lock().pop_front() {
            return Box::pin(async { Ok(Dialed::without_handshake(stream)) });
        }
        let servers = self.servers.clone();
        let wrap = self.stage.wrap.lock().unwrap_or(|stream| Box::new(stream));
        Box::pin(async move {
            let (ours, theirs) = duplex(PIPE);
            servers.send(theirs).await.map_err(std::io::Error::other)?;
            Ok(Dialed::without_handshake(wrap(ours)))
        })
    }

    fn disconnected(&mut self, _client: Id) {
        self.stage.left.fetch_add(1, Ordering::SeqCst);
    }
}

impl World {
    pub fn new(config: Config, endpoints: u64) -> Self {
        Self::with_limit(config, endpoints, 1000)
    }

    pub fn with_limit(config: Config, endpoints: u64, limit: u32) -> Self {
        let plain = Plain::new(&(0..endpoints).collect::<Vec<_>>());
        let stage = Arc::new(Stage {
            limit,
            log: Arc::clone(&plain.log),
            cut: Mutex::new(Some(watch::channel(()).0)),
            ..Stage::default()
        });
        let (servers, mut incoming) = mpsc::channel(16);
        let (commands, orders) = mpsc::channel(16);
        let (over, cut) = oneshot::channel();
        let director = Director {
            plain,
            stage: Arc::clone(&stage),
            servers,
        };
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let engine = Engine::new(config, director, Instant::now());
            let calls = runtime.block_on(driver::run(None, engine, orders));
            over.send(calls).ok();
        });
        let mut tasks = JoinSet::new();
        let scene = Arc::clone(&stage);
        tasks.spawn(async move {
            let mut servers = JoinSet::new();
            while let Some(stream) = incoming.recv().await {
                servers.spawn(serve(stream, Arc::clone(&scene)));
            }
        });
        Self {
            stage,
            commands,
            cut: Mutex::new(Some(cut)),
            _tasks: Mutex::new(tasks),
        }
    }

    pub async fn client(&self) -> SendRequest<Bytes> {
        self.client_with(&h2::client::Builder::new()).await
    }

    pub async fn client_with(&self, builder: &h2::client::Builder) -> SendRequest<Bytes> {
        let (ours, theirs) = duplex(PIPE);
        self.accept(Box::new(theirs)).await;
        self.client_on(builder, ours).await
    }

    pub async fn client_on(
        &self,
        builder: &h2::client::Builder,
        ours: DuplexStream,
    ) -> SendRequest<Bytes> {
        let (client, connection) = builder.handshake(ours).await.unwrap();
        self._tasks.lock().spawn(async move {
            connection.await.ok();
        });
        client
    }

    /// A client that is nothing but its bytes.
    pub async fn accept(&self, stream: Box<dyn Stream>) {
        self.send(Command::Client(stream)).await;
    }

    /// The next connection to an instance is this.
    pub fn dial(&self, stream: Box<dyn Stream>) {
        self.stage.dials.lock().push_back(stream);
    }

    /// The connections to instances are wrapped.
    pub fn wrap(&self, wrap: Wrap) {
        *self.stage.wrap.lock() = Some(wrap);
    }

    async fn send(&self, command: Command<Director>) {
        assert!(self.commands.send(command).await.is_ok());
    }

    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.stage.script.lock().extend(answers);
    }

    /// The ends of all calls, once they are so many.
    pub async fn ended(&self, calls: usize) -> Vec<Ended> {
        for _ in 0..2000 {
            if self.stage.log.lock().ended.len() >= calls {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let ended = self.stage.log.lock().ended.clone();
        assert!(
            ended.len() >= calls,
            "{} of {calls} calls ended",
            ended.len()
        );
        ended
    }

    pub fn ended_so_far(&self) -> String {
        format!("{:?}", self.stage.log.lock())
    }

    /// So many bytes of requests have come to the host.
    pub async fn heard(&self, bytes: usize) {
        while self.stage.log.lock().bytes < bytes {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn left(&self, clients: usize) {
        for _ in 0..2000 {
            if self.stage.left.load(Ordering::SeqCst) == clients {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("clients stay");
    }

    pub async fn memory(&self) -> usize {
        let (answer, answered) = oneshot::channel();
        let ask = move |engine: &mut Engine<Director>| {
            answer.send(engine.memory()).ok();
        };
        self.send(Command::Do(Box::new(ask))).await;
        answered.await.unwrap()
    }

    /// Waits until what the engine keeps is so many bytes.
    pub async fn memory_until(&self, holds: impl Fn(usize) -> bool) {
        for _ in 0..2000 {
            if holds(self.memory().await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} bytes are kept", self.memory().await);
    }

    /// The driver has done everything before.
    pub async fn ready(&self) {
        while self.stage.log.lock().begun == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub async fn drain(&self, within: Duration) {
        self.send(Command::Drain(within)).await;
    }

    pub async fn stopped(&self) -> usize {
        let cut = self.cut.lock().take().unwrap();
        cut.await.unwrap()
    }

    pub fn dialed(&self) -> usize {
        self.stage.dialed.load(Ordering::SeqCst)
    }

    pub async fn cancelled(&self) {
        self.stage.cancelled.notified().await;
    }

    /// Instances send GOAWAY.
    pub fn go_away(&self) {
        self.stage.go_away.notify_waiters();
    }

    /// All connections to instances break.
    pub fn cut(&self) {
        self.stage.cut.lock().take();
    }
}

async fn serve(stream: DuplexStream, stage: Arc<Stage>) {
    let mut cut = stage.cut.lock().as_ref().unwrap().subscribe();
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(stage.limit)
        // Streams may dribble here.
        .data_frame_budget(1 << 30)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            call = connection.accept() => {
                let Some(Ok((request, respond))) = call else { break };
                calls.spawn(answer(request, respond, Arc::clone(&stage)));
            }
            () = stage.go_away.notified() => connection.graceful_shutdown(),
            _ = cut.changed() => return,
        }
    }
    while calls.join_next().await.is_some() {}
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, stage: Arc<Stage>) {
    let script = stage.script.lock().pop_front();
    if let Some(Answer::Reset(reason)) = script {
        return respond.send_reset(reason);
    }
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let mut head = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert("content-type", grpc);
    match path.as_str() {
        "/fail" => {
            head.headers_mut()
                .insert("grpc-status", HeaderValue::from_static("5"));
            respond.send_response(head, true).unwrap();
        }
        "/chat" => {
            let mut out = respond.send_response(head, false).unwrap();
            while let Some(heard) = body.data().await {
                let Ok(heard) = heard else {
                    return stage.cancelled.notify_one();
                };
                body.flow_control().release_capacity(heard.len()).unwrap();
                if out.send_data(heard, false).is_err() {
                    return;
                }
            }
            finish(&mut out);
        }
        "/early" => {
            let mut out = respond.send_response(head, false).unwrap();
            out.send_data(Bytes::from_static(b"early"), false).unwrap();
            finish(&mut out);
        }
        "/flood" => {
            let mut out = respond.send_response(head, false).unwrap();
            let chunk = Bytes::from(vec![0; 32 * 1024]);
            loop {
                if send(&mut out, chunk.clone()).await.is_err() {
                    return;
                }
            }
        }
        other => {
            if other == "/slow" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let Ok((bytes, _)) = body_of(body).await else {
                return;
            };
            let mut out = respond.send_response(head, false).unwrap();
            if send(&mut out, Bytes::from(bytes)).await.is_ok() {
                finish(&mut out);
            }
        }
    }
}

fn finish(out: &mut SendStream<Bytes>) {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    out.send_trailers(trailers).ok();
}

/// Sends as fast as the window allows, not faster.
async fn send(out: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        out.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|cx| out.poll_capacity(cx)).await;
        let room = room.unwrap_or(Err(Reason::CANCEL.into()))?;
        out.send_data(bytes.split_to(room.min(bytes.len())), false)?;
    }
    Ok(())
}

pub async fn body_of(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        body.flow_control().release_capacity(bytes.len())?;
        all.extend_from_slice(&bytes);
    }
    Ok((all, body.trailers().await?))
}

/// Begins a call.
pub async fn open(client: &SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let mut client = client.clone().ready().await.unwrap();
    let request = Request::post(format!("http://test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    client.send_request(request, false).unwrap()
}

/// A whole call: the body that comes back, and the trailers.
pub async fn call(
    client: &SendRequest<Bytes>,
    path: &str,
    sent: &[u8],
) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let (answer, mut body) = open(client, path).await;
    let sending = async {
        send(&mut body, Bytes::copy_from_slice(sent)).await.ok();
        body.send_data(Bytes::new(), true).ok();
    };
    let (answer, ()) = tokio::join!(answer, sending);
    body_of(answer?.into_body()).await
}

/// The `grpc-status` of a call that has no body.
pub async fn status_of(client: &SendRequest<Bytes>, path: &str) -> String {
    let (answer, mut body) = open(client, path).await;
    body.send_data(Bytes::new(), true).ok();
    let answer = answer.await.unwrap();
    let status = answer.headers().get("grpc-status").cloned();
    status.unwrap().to_str().unwrap().to_owned()
}
