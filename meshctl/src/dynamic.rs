//! Calls of methods that this program was not built for: messages by descriptor, JSON at the edge.

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _};
use http::uri::PathAndQuery;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions};
use serde_json::Value;
use tokio_stream::Stream;
use tonic::{
    Request, Response, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

use crate::methods;

/// Calls a method of any kind; a unary one is a stream of one message each way.
///
/// # Errors
/// What the mesh or the service says.
pub(crate) async fn invoke(
    channel: Channel,
    method: &MethodDescriptor,
    request: Request<impl Stream<Item = DynamicMessage> + Send + 'static>,
) -> Result<Response<Streaming<DynamicMessage>>, Status> {
    let path = format!("/{}", methods::path(method));
    let path = PathAndQuery::try_from(path).map_err(|error| Status::internal(error.to_string()))?;
    let mut grpc = Grpc::new(channel);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    grpc.streaming(request, path, DynamicCodec(method.output()))
        .await
}

/// A message from JSON; field names as in the proto file or in lowerCamelCase.
///
/// # Errors
/// When it is not that message.
pub(crate) fn from_json(
    descriptor: &MessageDescriptor,
    json: Value,
) -> anyhow::Result<DynamicMessage> {
    let name = descriptor.full_name();
    DynamicMessage::deserialize(descriptor.clone(), json).with_context(|| {
        format!("the JSON is no {name} (`meshctl describe {name}` shows its fields)")
    })
}

/// JSON with the names of the proto file and every field, so that `success: false` is seen.
///
/// # Errors
/// For a value that JSON has no form for, such as a `google.protobuf.Any` of an unknown type.
pub(crate) fn to_json(message: &DynamicMessage) -> anyhow::Result<Value> {
    write(message, serde_json::value::Serializer)
}

/// The same as text, fields in the order of their numbers, over several lines or on one.
///
/// # Errors
/// As [`to_json`].
pub(crate) fn to_text(message: &DynamicMessage, pretty: bool) -> anyhow::Result<String> {
    let mut text = Vec::new();
    if pretty {
        write(message, &mut serde_json::Serializer::pretty(&mut text))?;
    } else {
        write(message, &mut serde_json::Serializer::new(&mut text))?;
    }
    Ok(String::from_utf8(text)?)
}

fn write<S>(message: &DynamicMessage, to: S) -> anyhow::Result<S::Ok>
where
    S: serde::Serializer,
    S::Error: Send + Sync + 'static,
{
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(false);
    let name = message_name(message);
    message
        .serialize_with_options(to, &options)
        .with_context(|| format!("write {name} as JSON"))
}

fn message_name(message: &DynamicMessage) -> String {
    use prost_reflect::ReflectMessage as _;
    message.descriptor().full_name().to_owned()
}

/// Reads messages of this descriptor, writes any.
#[derive(Debug)]
struct DynamicCodec(MessageDescriptor);

impl Codec for DynamicCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Writer;
    type Decoder = Reader;

    fn encoder(&mut self) -> Writer {
        Writer
    }

    fn decoder(&mut self) -> Reader {
        Reader(self.0.clone())
    }
}

#[derive(Debug)]
struct Writer;

impl Encoder for Writer {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(message.encoded_len());
        to.put_slice(&message.encode_to_vec());
        Ok(())
    }
}

#[derive(Debug)]
struct Reader(MessageDescriptor);

impl Decoder for Reader {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        let message = DynamicMessage::decode(self.0.clone(), bytes);
        message.map(Some).map_err(|error| {
            Status::internal(format!("the answer is no {}: {error}", self.0.full_name()))
        })
    }
}
