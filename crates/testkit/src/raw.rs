//! gRPC by hand: what no decent client would send.

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{Reason, SendStream, client};
use http::{HeaderMap, Request};
use proto::frame::Header;
use tokio::{net::TcpStream, task::JoinSet};
use tonic::Status;

/// An HTTP/2 connection.
#[derive(Debug)]
pub struct RawConnection {
    requests: client::SendRequest<Bytes>,
    _connection: Option<JoinSet<()>>,
}

/// A call that has begun.
#[derive(Debug)]
pub struct RawCall {
    response: client::ResponseFuture,
    body: SendStream<Bytes>,
}

/// How a call ended.
#[derive(Debug)]
pub struct RawResponse {
    /// Initial metadata.
    pub headers: HeaderMap,
    /// The bytes of the answer, with their frames.
    pub body: Bytes,
    /// The status, from the trailers or, when there is nothing else, from the headers.
    pub status: Status,
}

impl RawConnection {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it serves");
        stream.set_nodelay(true).expect("it is a socket of TCP");
        let (requests, connection) = client::handshake(stream).await.expect("it speaks HTTP/2");
        let mut tasks = JoinSet::new();
        // How the connection ends, its calls tell.
        tasks.spawn(async move { drop(connection.await) });
        Self {
            requests,
            _connection: Some(tasks),
        }
    }

    /// Another handle of the connection, which lives as long as the first one.
    #[must_use]
    pub fn shared(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            _connection: None,
        }
    }

    /// Begins a call with these bytes of body; `end` says that no more come.
    pub async fn begin(
        &mut self,
        path: &str,
        metadata: &[(&str, &str)],
        body: Bytes,
        end: bool,
    ) -> RawCall {
        let mut request = Request::post(format!("http://mesh.test{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (key, value) in metadata {
            request = request.header(*key, *value);
        }
        let request = request.body(()).expect("a path is part of a URI");
        let mut requests = self.requests.clone().ready().await.expect("it is open");
        let (response, mut stream) = requests.send_request(request, false).expect("it is open");
        stream.send_data(body, end).expect("the stream is open");
        RawCall {
            response,
            body: stream,
        }
    }

    /// Makes a whole call with one message.
    pub async fn call(
        &mut self,
        path: &str,
        metadata: &[(&str, &str)],
        message: &[u8],
    ) -> RawResponse {
        self.begin(path, metadata, frame(message), true)
            .await
            .answer()
            .await
    }
}

impl RawCall {
    /// Waits for its end.
    pub async fn answer(self) -> RawResponse {
        // A request that is still open stays so until the answer is there.
        let Self {
            response,
            body: request,
        } = self;
        let response = response.await.expect("an answer");
        let (parts, mut stream) = response.into_parts();
        let mut body = BytesMut::new();
        while let Some(data) = stream.data().await {
            let data = data.expect("the answer comes whole");
            body.put_slice(&data);
            drop(stream.flow_control().release_capacity(data.len()));
        }
        let trailers = stream.trailers().await.expect("the answer ends");
        drop(request);
        let status = trailers
            .as_ref()
            .and_then(Status::from_header_map)
            .or_else(|| Status::from_header_map(&parts.headers))
            .unwrap_or_else(|| Status::unknown(format!("no grpc-status; HTTP {}", parts.status)));
        RawResponse {
            headers: parts.headers,
            body: body.freeze(),
            status,
        }
    }

    /// Gives it up, as a client that is gone.
    pub fn cancel(mut self) {
        self.body.send_reset(Reason::CANCEL);
    }
}

/// A message in its gRPC frame.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::from(&header(message.len())[..]);
    framed.put_slice(message);
    framed.freeze()
}

/// The header of the frame of an uncompressed message of so many bytes.
#[must_use]
pub fn header(length: usize) -> Bytes {
    let length = u32::try_from(length).expect("a message is under 4 GiB");
    Bytes::copy_from_slice(&Header { flags: 0, length }.encode())
}
