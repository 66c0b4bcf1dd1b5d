//! Messages to and from mounted servers, through the mesh.

use std::time::Duration;

use backoff::{Backoff, Pauses};
use bytes::Bytes;
use channel::{Channel, Mesh};
use proto::mesh::v1::{McpMessage, mcp_service_client::McpServiceClient};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, metadata::MetadataMap};

/// The gRPC service by which a mount is known.
pub const MCP_SERVICE: &str = "mesh.v1.McpService";
/// Messages of a session that wait to be sent.
const OUTGOING: usize = 64;
/// Bytes that a message may have beside the mount's own limit.
const MAX_MESSAGE: usize = 64 << 20;

/// Pauses before a mount whose changes are no longer heard is listened to again.
#[must_use]
pub const fn pauses() -> Pauses {
    let (first, longest) = (Duration::from_millis(250), Duration::from_secs(30));
    Pauses::new(Backoff::new(first, longest, 0.2))
}

/// Sends messages to mounts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MountClient {
    mesh: Mesh,
}

impl MountClient {
    /// A client of this mesh.
    #[must_use]
    pub const fn new(mesh: Mesh) -> Self {
        Self { mesh }
    }

    fn client(&self, service: &str) -> McpServiceClient<Channel> {
        McpServiceClient::new(self.mesh.channel(service)).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Sends one request of a client of 2026-07-28 to a mount of this Consul name. What belongs to it
    /// comes first, its response last. Dropping the stream cancels the request.
    ///
    /// # Errors
    /// When no instance takes it.
    pub async fn call(
        &self,
        service: &str,
        message: impl Into<Bytes>,
        metadata: MetadataMap,
    ) -> Result<Streaming<McpMessage>, Status> {
        let mut request = Request::new(McpMessage {
            message: message.into().into(),
            related_request: Vec::new(),
        });
        *request.metadata_mut() = metadata;
        Ok(self.client(service).call(request).await?.into_inner())
    }

    /// Opens the session of a client of an earlier revision, whose first message is `initialize`. When
    /// the stream ends, the session may be begun again at another mount.
    ///
    /// # Errors
    /// When no instance takes it.
    pub async fn connect(
        &self,
        service: &str,
        metadata: MetadataMap,
    ) -> Result<(mpsc::Sender<McpMessage>, Streaming<McpMessage>), Status> {
        let (sender, messages) = mpsc::channel(OUTGOING);
        let mut request = Request::new(ReceiverStream::new(messages));
        *request.metadata_mut() = metadata;
        let answers = self.client(service).connect(request).await?;
        Ok((sender, answers.into_inner()))
    }
}
