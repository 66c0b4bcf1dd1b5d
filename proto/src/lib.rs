//! The wire contract: package `agentplatform`, field for field what existing clients send, and
//! package `mesh.v1`, what the mesh tells of itself.

mod cause;
pub mod details;
pub mod error_info;
pub mod frame;
mod reason;

pub use cause::MeshCause;

/// Messages, clients and servers of package `agentplatform`.
pub mod agentplatform {
    tonic::include_proto!("agentplatform");
}

/// Messages, clients and servers of the packages `mesh.*`.
pub mod mesh {
    /// Package `mesh.v1`.
    pub mod v1 {
        tonic::include_proto!("mesh.v1");
    }
}

/// The contract as an encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
