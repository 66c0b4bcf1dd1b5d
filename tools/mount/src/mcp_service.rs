//! `mesh.v1.McpService`: the messages of clients of both eras.

use std::sync::{Arc, atomic::Ordering};

use proto::mesh::v1::{
    McpMessage,
    mcp_service_server::{McpService, McpServiceServer},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use crate::{
    legacy,
    modern::{self, CALLER, PASSED_ON},
    mount::Mount,
};

/// Messages that wait for a client. The server waits when there are more.
const OUTGOING: usize = 64;

/// Answers for the server.
#[derive(Debug)]
pub(crate) struct MountedServer(Arc<Mount>);

/// The service of a mount.
pub(crate) fn server(mount: &Arc<Mount>, most: usize) -> McpServiceServer<MountedServer> {
    let server = MountedServer(Arc::clone(mount));
    McpServiceServer::new(server).max_decoding_message_size(most)
}

type Messages = ReceiverStream<Result<McpMessage, Status>>;

#[async_trait::async_trait]
impl McpService for MountedServer {
    type CallStream = Messages;

    async fn call(&self, request: Request<McpMessage>) -> Result<Response<Messages>, Status> {
        let caller = caller(request.metadata());
        let passed_on = request.metadata().contains_key(PASSED_ON);
        let message = request.into_inner().message;
        let (out, messages) = mpsc::channel(OUTGOING);
        let mount = Arc::clone(&self.0);
        self.0.context.tracker.spawn(async move {
            let served = modern::serve(&mount, &caller, passed_on, &message, &out);
            tokio::select! {
                () = Box::pin(served) => {}
                // Its client has left, whatever it waited for.
                () = out.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    type ConnectStream = Messages;

    async fn connect(
        &self,
        request: Request<Streaming<McpMessage>>,
    ) -> Result<Response<Messages>, Status> {
        let most = self.0.keys.mount_max_sessions as u64;
        let open = SessionCount::new(&self.0);
        if self.0.sessions.load(Ordering::Relaxed) > most {
            let text = format!("the mount has {most} sessions already");
            let key = [("key", "mount_max_sessions".to_owned())];
            let reason = proto::error_info::Reason::Limit;
            let code = tonic::Code::ResourceExhausted;
            return Err(proto::error_info::status(code, reason, text, key));
        }
        let incoming = request.into_inner();
        let (out, messages) = mpsc::channel(OUTGOING);
        let mount = Arc::clone(&self.0);
        self.0.context.tracker.spawn(async move {
            let ended = mount.context.shutdown.clone();
            let session = Box::pin(legacy::serve(mount, incoming, out));
            ended.run_until_cancelled(session).await;
            drop(open);
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

fn caller(metadata: &MetadataMap) -> String {
    let caller = metadata.get(CALLER).and_then(|it| it.to_str().ok());
    caller.unwrap_or_default().to_owned()
}

/// Counts a session while it lives.
struct SessionCount(Arc<Mount>);

impl SessionCount {
    fn new(mount: &Arc<Mount>) -> Self {
        let count = mount.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        mount
            .metrics
            .sessions(usize::try_from(count).unwrap_or(usize::MAX));
        Self(Arc::clone(mount))
    }
}

impl Drop for SessionCount {
    fn drop(&mut self) {
        let count = self.0.sessions.fetch_sub(1, Ordering::Relaxed) - 1;
        self.0
            .metrics
            .sessions(usize::try_from(count).unwrap_or(usize::MAX));
    }
}
