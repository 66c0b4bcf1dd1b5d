//! An instance of the mesh that misbehaves on command, down to single frames and packets.
//!
//! It answers `AgentService/ExecuteTask` and gRPC health within the process of the test, and is
//! registered in Consul like a program of ours. Packets are lost as [`crate::packet_loss`] does it.

use std::{future::pending, net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, server, server::SendResponse};
use http::{HeaderMap, HeaderName, Request, Response};
use prost::Message as _;
use proto::agentplatform::{TaskRequest, TaskResponse};
use serde_json::json;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use crate::{Consul, packet_loss, raw::frame};

/// How long a call takes while the instance is well.
pub const WORK: Duration = Duration::from_millis(25);
/// Calls of one connection before [`FaultMode::Cut`] or [`FaultMode::GoAway`] ends it.
const CALLS: usize = 5;
/// `HealthCheckResponse`: SERVING.
const SERVING: [u8; 2] = [0x08, 0x01];

/// How an instance behaves. Its health is SERVING whatever it does otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultMode {
    /// Each call is answered after [`WORK`].
    Well,
    /// Each call is answered after a hundred times [`WORK`].
    Slow,
    /// Each call is answered with UNAVAILABLE.
    Unavailable,
    /// Of three calls one is reset with REFUSED_STREAM, one with INTERNAL_ERROR while it runs, and
    /// one is answered.
    Reset,
    /// Each connection is dropped with its calls when it has had a few.
    Cut,
    /// Each connection is told to go away when it has had a few calls, which are answered.
    GoAway,
    /// Nothing that is sent to it arrives, not even on new connections, and nothing comes back.
    BlackHole,
    /// The same for the connections that are open; new ones are well.
    HalfOpen,
}

/// The instance. It dies, connections and all, when dropped.
#[derive(Debug)]
pub struct FaultyInstance {
    /// Its Consul service ID.
    pub id: String,
    /// Where it serves.
    pub address: SocketAddr,
    mode: watch::Sender<FaultMode>,
    _tasks: JoinSet<()>,
}

impl FaultyInstance {
    /// Starts one that behaves well, as an instance of a Consul service, and registers it.
    /// `declared` says that its methods may run twice.
    pub async fn start(consul: &Consul, service: &str, id: &str, declared: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (mode, watched) = watch::channel(FaultMode::Well);
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, watched));
        let idempotent = if declared { "*" } else { "" };
        let registration = json!({
            "ID": id, "Name": service, "Tags": ["agent", "grpc"],
            "Address": "127.0.0.1", "Port": address.port(),
            "Meta": {
                "kind": "agent",
                "idempotent": idempotent,
                "grpc_services": "agentplatform.AgentService",
            },
            "Check": { "GRPC": address.to_string(), "Interval": "10s", "Status": "passing" },
        });
        consul.put("agent/service/register", &registration).await;
        Self {
            id: id.to_owned(),
            address,
            mode,
            _tasks: tasks,
        }
    }

    /// Behaves so from now on.
    pub fn set_mode(&self, mode: FaultMode) {
        self.mode.send_replace(mode);
    }
}

async fn listen(listener: TcpListener, mode: watch::Receiver<FaultMode>) {
    let mut connections = JoinSet::new();
    let black_hole = |mode: &FaultMode| *mode == FaultMode::BlackHole;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted.expect("there are files left");
                connections.spawn(serve(socket, mode.clone()));
            }
            Some(_) = connections.join_next() => {}
            () = until(mode.clone(), black_hole) => break,
        }
    }
    // The connections see to themselves.
    packet_loss::drop_incoming(&SockRef::from(&listener));
    pending::<()>().await;
}

/// Ends when the mode is one of these.
async fn until(mut mode: watch::Receiver<FaultMode>, these: impl FnMut(&FaultMode) -> bool) {
    if mode.wait_for(these).await.is_err() {
        pending::<()>().await;
    }
}

async fn serve(socket: TcpStream, mode: watch::Receiver<FaultMode>) {
    // A connection that is opened while others are half open is well.
    let newer = *mode.borrow() == FaultMode::HalfOpen;
    let silent = |mode: &FaultMode| match mode {
        FaultMode::BlackHole => true,
        FaultMode::HalfOpen => !newer,
        FaultMode::Well
        | FaultMode::Slow
        | FaultMode::Unavailable
        | FaultMode::Reset
        | FaultMode::Cut
        | FaultMode::GoAway => false,
    };
    let own = SockRef::from(&socket).try_clone();
    let own = own.expect("there are files left");
    tokio::select! {
        () = until(mode.clone(), silent) => {}
        () = answer(socket, &mode) => return,
    }
    // Held by its second handle, the socket says no more, not even that it ends.
    packet_loss::drop_incoming(&own);
    pending::<()>().await;
}

async fn answer(socket: TcpStream, mode: &watch::Receiver<FaultMode>) {
    let mut builder = server::Builder::new();
    builder.max_local_error_reset_streams(None);
    let Ok(mut connection) = builder.handshake(socket).await else {
        return;
    };
    let (mut calls, mut count) = (JoinSet::new(), 0);
    while let Some(Ok((request, respond))) = connection.accept().await {
        let mode = *mode.borrow();
        if request.uri().path().starts_with("/grpc.health.v1.Health/") {
            calls.spawn(health(request, respond));
            continue;
        }
        count += 1;
        if count > CALLS && mode == FaultMode::Cut {
            return;
        }
        if count == CALLS && mode == FaultMode::GoAway {
            connection.graceful_shutdown();
        }
        calls.spawn(call(request, respond, mode, count));
    }
}

async fn health(request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    if read(request.into_body()).await.is_some() {
        finish(respond, &SERVING);
    }
}

async fn call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    mode: FaultMode,
    count: usize,
) {
    match (mode, count % 3) {
        (FaultMode::Unavailable, _) => {
            let answer = head().header("grpc-status", 14).body(());
            // The caller may be gone, here and below.
            respond
                .send_response(answer.expect("it is well formed"), true)
                .ok();
            return;
        }
        (FaultMode::Reset, 0) => return respond.send_reset(Reason::REFUSED_STREAM),
        (FaultMode::Reset, 1) => {
            sleep(WORK / 2).await;
            return respond.send_reset(Reason::INTERNAL_ERROR);
        }
        (FaultMode::Slow, _) => sleep(100 * WORK).await,
        _ => sleep(WORK).await,
    }
    let Some(message) = read(request.into_body()).await else {
        return;
    };
    let Ok(task) = TaskRequest::decode(message) else {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    };
    let answer = TaskResponse {
        task_id: task.task_id,
        output: task.input,
        success: true,
        ..TaskResponse::default()
    };
    finish(respond, &answer.encode_to_vec());
}

/// The message of a request, without its frame.
async fn read(mut body: RecvStream) -> Option<Bytes> {
    let mut all = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        body.flow_control().release_capacity(data.len()).ok()?;
        all.extend_from_slice(&data);
    }
    (all.len() >= 5).then(|| all.freeze().slice(5..))
}

fn head() -> http::response::Builder {
    Response::builder().header("content-type", "application/grpc")
}

fn finish(mut respond: SendResponse<Bytes>, message: &[u8]) {
    let answer = head().body(()).expect("it is well formed");
    let Ok(mut stream) = respond.send_response(answer, false) else {
        return;
    };
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), 0.into())]);
    if stream.send_data(frame(message), false).is_ok() {
        stream.send_trailers(trailers).ok();
    }
}
