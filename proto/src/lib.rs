//! The wire contract: package `agentplatform`, field for field what existing clients send.

pub mod error_info;

/// Messages, clients and servers of package `agentplatform`.
pub mod agentplatform {
    tonic::include_proto!("agentplatform");
}

/// The contract as an encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
