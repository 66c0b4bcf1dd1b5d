//! One call over any connection.

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{
    Request, Response, Status, Streaming, body::Body, client::Grpc, client::GrpcService,
    codec::Codec,
};

use crate::{ReceivedMessage, codec::BytesCodec};

/// The error of a transport or of its bodies.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The messages of an answer, in the order in which they come.
#[derive(Debug)]
pub struct ReceivedMessages {
    messages: Streaming<Bytes>,
    descriptor: MessageDescriptor,
}

impl ReceivedMessages {
    /// The next message; `None` after the last.
    ///
    /// # Errors
    /// The status that the call ended with.
    pub async fn message(&mut self) -> Result<Option<ReceivedMessage>, Status> {
        let message = self.messages.message().await?;
        Ok(message.map(|bytes| ReceivedMessage::decode(self.descriptor.clone(), bytes)))
    }
}

/// Calls a method of any kind. A unary method is a stream of one message each way. No message of the
/// answer may be larger than `max_bytes`.
///
/// # Errors
/// The status of the mesh or of the service.
pub async fn invoke<T>(
    channel: T,
    method: &MethodDescriptor,
    request: Request<impl Stream<Item = DynamicMessage> + Send + 'static>,
    max_bytes: usize,
) -> Result<Response<ReceivedMessages>, Status>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
{
    let encode = |message: DynamicMessage| Bytes::from(message.encode_to_vec());
    let request = request.map(|messages| messages.map(encode));
    let answer = exchange(
        channel,
        path(&crate::path(method))?,
        BytesCodec,
        request,
        max_bytes,
    )
    .await?;
    Ok(answer.map(|messages| ReceivedMessages {
        messages,
        descriptor: method.output(),
    }))
}

/// The path of a method `pkg.Service/Method`.
///
/// # Errors
/// `INVALID_ARGUMENT` when it can be none.
pub(crate) fn path(method: &str) -> Result<PathAndQuery, Status> {
    PathAndQuery::try_from(format!("/{method}"))
        .map_err(|_| Status::invalid_argument(format!("{method:?} is no pkg.Service/Method")))
}

/// Calls a method by its path, with any codec.
pub(crate) async fn exchange<T, C>(
    channel: T,
    path: PathAndQuery,
    codec: C,
    request: Request<impl Stream<Item = C::Encode> + Send + 'static>,
    max_bytes: usize,
) -> Result<Response<Streaming<C::Decode>>, Status>
where
    C: Codec,
    C::Encode: Send + Sync + 'static,
    C::Decode: Send + Sync + 'static,
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
{
    let mut grpc = Grpc::new(channel).max_decoding_message_size(max_bytes);
    grpc.ready()
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    grpc.streaming(request, path, codec).await
}
