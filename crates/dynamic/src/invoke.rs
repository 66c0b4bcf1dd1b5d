//! One call over any connection.

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use tokio_stream::Stream;
use tonic::{
    Request, Response, Status, Streaming, body::Body, client::Grpc, client::GrpcService,
    codec::Codec,
};

use crate::{ReceivedMessage, codec::DynamicCodec};

/// What a transport's errors and bodies have to be.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Calls a method of any kind; a unary one is a stream of one message each way. Messages of the
/// answer may have `max_bytes`.
///
/// # Errors
/// What the mesh or the service says.
pub async fn invoke<T>(
    channel: T,
    method: &MethodDescriptor,
    request: Request<impl Stream<Item = DynamicMessage> + Send + 'static>,
    max_bytes: usize,
) -> Result<Response<Streaming<ReceivedMessage>>, Status>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
{
    let codec = DynamicCodec(method.output());
    exchange(channel, &crate::path(method), codec, request, max_bytes).await
}

/// The same with any codec, for a method by its name.
pub(crate) async fn exchange<T, C>(
    channel: T,
    method: &str,
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
    let path = PathAndQuery::try_from(format!("/{method}"))
        .map_err(|_| Status::invalid_argument(format!("{method:?} is no pkg.Service/Method")))?;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(max_bytes);
    grpc.ready()
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    grpc.streaming(request, path, codec).await
}
