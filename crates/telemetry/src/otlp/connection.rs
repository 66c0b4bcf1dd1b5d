//! One connection to the collector, and one request at a time on it.

use std::{io, pin::Pin};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};

use super::{
    destination::{Destination, OtlpProtocol},
    protobuf::PartialSuccess,
};

/// How much of an answer is read.
const ANSWER: usize = 64 << 10;

/// Why an export failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may be taken later: nobody answered, or the collector asks for patience.
    Retry(String),
    /// It will never be taken.
    Refused(String),
}

/// An open connection.
pub(crate) struct Connection {
    sender: Sender,
    /// Runs the connection; ends with it.
    _driver: JoinSet<()>,
}

enum Sender {
    Grpc(http2::SendRequest<Full<Bytes>>),
    Http(http1::SendRequest<Full<Bytes>>),
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

impl Connection {
    pub(crate) async fn open(to: &Destination) -> Result<Self, Failure> {
        let stream = dial(to).await;
        let stream = stream.map_err(|error| Failure::Retry(error.to_string()))?;
        let (io, mut driver) = (TokioIo::new(stream), JoinSet::new());
        let failed = |error: hyper::Error| Failure::Retry(told(&error));
        let sender = match to.protocol {
            OtlpProtocol::Grpc => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                    .await
                    .map_err(failed)?;
                driver.spawn(async {
                    // A request that fails says so itself.
                    connection.await.ok();
                });
                Sender::Grpc(sender)
            }
            OtlpProtocol::HttpProtobuf => {
                let (sender, connection) = http1::handshake(io).await.map_err(failed)?;
                driver.spawn(async {
                    connection.await.ok();
                });
                Sender::Http(sender)
            }
        };
        Ok(Self {
            sender,
            _driver: driver,
        })
    }

    /// Whether the collector has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Grpc(sender) => sender.is_closed(),
            Sender::Http(sender) => sender.is_closed(),
        }
    }

    /// The bytes that a message has before it: the length prefix of gRPC.
    pub(crate) fn room(protocol: OtlpProtocol) -> usize {
        match protocol {
            OtlpProtocol::Grpc => 5,
            OtlpProtocol::HttpProtobuf => 0,
        }
    }

    /// Sends one message, which has [`Self::room`] before it. Answers what of it the collector did not take.
    pub(crate) async fn send(
        &mut self,
        to: &Destination,
        message: Bytes,
    ) -> Result<PartialSuccess, Failure> {
        let failed = |error: hyper::Error| Failure::Retry(told(&error));
        let mut request = Request::new(Full::new(message));
        *request.method_mut() = http::Method::POST;
        *request.headers_mut() = to.headers.clone();
        let mut set = |name, value| {
            request.headers_mut().insert(name, value);
        };
        set(header::USER_AGENT, HeaderValue::from_static("mesh-otlp"));
        match &mut self.sender {
            Sender::Grpc(sender) => {
                let grpc = HeaderValue::from_static("application/grpc");
                set(header::CONTENT_TYPE, grpc);
                set(header::TE, HeaderValue::from_static("trailers"));
                *request.uri_mut() = to.uri.clone();
                sender.ready().await.map_err(failed)?;
                let response = sender.send_request(request).await.map_err(failed)?;
                grpc_outcome(response).await
            }
            Sender::Http(sender) => {
                let protobuf = HeaderValue::from_static("application/x-protobuf");
                set(header::CONTENT_TYPE, protobuf);
                if let Some(authority) = to.uri.authority()
                    && let Ok(host) = HeaderValue::from_str(authority.as_str())
                {
                    set(header::HOST, host);
                }
                // To a server, and not to a proxy, only the path is named.
                let path = to.uri.path().parse();
                *request.uri_mut() = path.map_err(|_| Failure::Refused("no path".to_owned()))?;
                sender.ready().await.map_err(failed)?;
                let response = sender.send_request(request).await.map_err(failed)?;
                http_outcome(response).await
            }
        }
    }
}

async fn dial(to: &Destination) -> io::Result<Pin<Box<dyn Stream>>> {
    let stream = TcpStream::connect((&*to.host, to.port)).await?;
    stream.set_nodelay(true)?;
    match &to.tls {
        None => Ok(Box::pin(stream)),
        Some(tls) => {
            let stream = tls.connect(&to.host, stream).await;
            let stream = stream.map_err(|error| io::Error::other(format!("TLS: {error}")))?;
            Ok(Box::pin(stream))
        }
    }
}

async fn grpc_outcome(response: Response<Incoming>) -> Result<PartialSuccess, Failure> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(of_status(head.status));
    }
    let code = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
    let outcome = |headers: &HeaderMap, code: u32, answer: &[u8]| {
        let message = headers.get("grpc-message").and_then(|it| it.to_str().ok());
        let text = format!(
            "gRPC status {}: {}",
            crate::rpc::code_name(code.cast_signed()),
            message.unwrap_or("no message")
        );
        match code {
            0 => Ok(PartialSuccess::of(answer)),
            // As OTLP's specification lists those that may be sent again.
            1 | 4 | 8 | 10 | 11 | 14 | 15 => Err(Failure::Retry(text)),
            _ => Err(Failure::Refused(text)),
        }
    };
    if let Some(code) = code(&head.headers) {
        return outcome(&head.headers, code, &[]);
    }
    let read = Limited::new(body, ANSWER).collect().await;
    let read = read.map_err(|error| Failure::Retry(error.to_string()))?;
    let trailers = read.trailers().cloned().unwrap_or_default();
    let answer = read.to_bytes();
    match code(&trailers) {
        // The message has the length prefix of gRPC before it.
        Some(code) => outcome(&trailers, code, answer.get(5..).unwrap_or_default()),
        None => Err(Failure::Retry("an answer without a status".to_owned())),
    }
}

async fn http_outcome(response: Response<Incoming>) -> Result<PartialSuccess, Failure> {
    let (head, body) = response.into_parts();
    // The connection is used again once the answer has been read.
    let read = Limited::new(body, ANSWER).collect().await;
    if !head.status.is_success() {
        return Err(of_status(head.status));
    }
    let answer = read.map(http_body_util::Collected::to_bytes);
    Ok(PartialSuccess::of(&answer.unwrap_or_default()))
}

fn of_status(status: StatusCode) -> Failure {
    let text = format!("HTTP status {status}");
    match status.as_u16() {
        429 | 502 | 503 | 504 => Failure::Retry(text),
        _ => Failure::Refused(text),
    }
}

/// What hyper says, with its cause.
fn told(error: &hyper::Error) -> String {
    crate::error_chain(error)
}
