//! A minimal gRPC echo for measurements: answers every request with its body and `grpc-status: 0`, on
//! each of the addresses given; at `ADDRESS/MILLISECONDS` after so long a pause. A method named
//! `Stream` is answered with a thousand messages, each of them the request's.

use std::{error::Error, net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

/// Messages in the answer of a `Stream`.
const STREAMED: usize = 1000;

async fn echo(
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    pause: Duration,
    messages: usize,
) -> Result<(), h2::Error> {
    let mut all = BytesMut::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        body.flow_control().release_capacity(bytes.len())?;
        all.extend_from_slice(&bytes);
    }
    if all.is_empty() {
        // An empty message, so that there is always one.
        all.extend_from_slice(&[0; 5]);
    }
    if !pause.is_zero() {
        sleep(pause).await;
    }
    let mut head = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert("content-type", grpc);
    let mut answer = respond.send_response(head, false)?;
    let message = all.freeze();
    for _ in 0..messages {
        answer.send_data(message.clone(), false)?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    answer.send_trailers(trailers)
}

async fn connection(
    stream: TcpStream,
    pause: Duration,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(2000)
        .initial_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake(stream)
        .await?;
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            call = connection.accept() => {
                let Some(call) = call else { return Ok(()) };
                let (request, respond) = call?;
                let streams = request.uri().path().ends_with("/Stream");
                let messages = if streams { STREAMED } else { 1 };
                calls.spawn(echo(request.into_body(), respond, pause, messages));
            }
            Some(_) = calls.join_next() => {}
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut servers = JoinSet::new();
    for at in std::env::args().skip(1) {
        let (at, pause) = at.split_once('/').unwrap_or((&at, "0"));
        let pause = Duration::from_millis(pause.parse()?);
        let listener = TcpListener::bind(at.parse::<SocketAddr>()?).await?;
        servers.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream, pause));
                while connections.try_join_next().is_some() {}
            }
        });
    }
    while servers.join_next().await.is_some() {}
    Ok(())
}
