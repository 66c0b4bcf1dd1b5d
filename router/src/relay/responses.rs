//! Statuses of the mesh as header blocks.

use http::HeaderMap;
use mesh_relay::hpack::Block;
use tonic::Status;

use crate::routing::request::INSTANCE;

/// A whole answer that is nothing but a status.
pub(super) fn trailers_only(status: &Status, instance: Option<&str>) -> Block {
    let mut block = Block::new();
    block.push(b":status", b"200");
    block.push(b"content-type", b"application/grpc");
    fields(&mut block, status);
    if let Some(id) = instance {
        add_instance(&mut block, id);
    }
    block
}

/// The trailers that end an answer which has begun.
pub(super) fn trailers(status: &Status) -> Block {
    let mut block = Block::new();
    fields(&mut block, status);
    block
}

/// The instance that was picked; an ID that is no header value is left out.
pub(super) fn add_instance(block: &mut Block, id: &str) {
    if http::HeaderValue::from_str(id).is_ok() {
        block.push(INSTANCE.as_str().as_bytes(), id.as_bytes());
    }
}

fn fields(block: &mut Block, status: &Status) {
    let mut headers = HeaderMap::new();
    if status.add_header(&mut headers).is_err() {
        // No header can carry the message: the code is sent alone.
        headers.clear();
        headers.insert(Status::GRPC_STATUS, (status.code() as i32).into());
    }
    for (name, value) in &headers {
        block.push(name.as_str().as_bytes(), value.as_bytes());
    }
}
