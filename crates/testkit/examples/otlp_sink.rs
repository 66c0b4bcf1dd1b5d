//! A collector that takes everything by gRPC and keeps nothing: `make bench` measures what traces cost
//! the router while somebody takes them.
//!
//! ```text
//! otlp_sink 127.0.0.1:4317
//! ```

use std::error::Error;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tokio::{net::TcpListener, task::JoinSet};

/// An empty message of gRPC.
const EMPTY: [u8; 5] = [0; 5];
/// More than a batch of spans.
const WINDOW: u32 = 4 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("give an address")?;
    let listener = TcpListener::bind(address).await?;
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await?;
        connections.spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder
                .initial_window_size(WINDOW)
                .initial_connection_window_size(WINDOW);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else {
                return;
            };
            let mut calls = JoinSet::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                calls.spawn(async move {
                    let mut body = request.into_body();
                    while let Some(Ok(piece)) = body.data().await {
                        body.flow_control().release_capacity(piece.len()).ok();
                    }
                    let head = Response::builder().header("content-type", "application/grpc");
                    let Ok(mut stream) = head
                        .body(())
                        .map_err(drop)
                        .and_then(|head| respond.send_response(head, false).map_err(drop))
                    else {
                        return;
                    };
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static("0"));
                    stream.send_data(Bytes::from_static(&EMPTY), false).ok();
                    stream.send_trailers(trailers).ok();
                });
            }
        });
    }
}
