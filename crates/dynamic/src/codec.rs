//! What tonic needs to send and read messages that have a descriptor in place of a type.

use bytes::{Buf as _, BufMut as _, Bytes};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::Received;

/// Reads messages of this descriptor, writes any.
#[derive(Debug)]
pub(crate) struct Described(pub(crate) MessageDescriptor);

/// Messages as the bytes they are.
#[derive(Debug, Default)]
pub(crate) struct Raw;

impl Codec for Described {
    type Encode = DynamicMessage;
    type Decode = Received;
    type Encoder = Writer;
    type Decoder = Self;

    fn encoder(&mut self) -> Writer {
        Writer
    }

    fn decoder(&mut self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
pub(crate) struct Writer;

impl Encoder for Writer {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(message.encoded_len());
        message
            .encode(to)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Described {
    type Item = Received;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Received>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        // No error: the method has run, whatever its answer looks like.
        Ok(Some(Received::decode(self.0.clone(), bytes)))
    }
}

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
