//! An agent as an `agentplatform.AgentService`.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use futures_util::stream;
use proto::agentplatform::{
    AgentInfo, ListAgentsRequest, ListAgentsResponse, RegistrationResponse, StatusRequest,
    StatusResponse, TaskChunk, TaskRequest, TaskResponse,
    agent_service_server::{AgentService, AgentServiceServer},
};
use service::{ActiveTasks, Context, Services};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, codegen::BoxStream};

use crate::{About, Agent, OutputStream, Task, TaskError, TaskOutcome, task::respond};

/// The content of the chunk that ends a stream.
const COMPLETE: &str = "[COMPLETE]";

struct AgentServer {
    context: Context,
    about: About,
    agent: Arc<dyn Agent>,
    active: ActiveTasks,
}

/// Serves `agent` as an `agentplatform.AgentService` that lists itself as `about` says.
#[must_use]
pub fn serve(context: &Context, about: About, agent: impl Agent) -> Services {
    let server = AgentServiceServer::new(AgentServer {
        context: context.clone(),
        about,
        agent: Arc::new(agent),
        active: ActiveTasks::default(),
    });
    Services::new()
        .service(server.max_decoding_message_size(context.max_message_bytes()))
        .descriptors(proto::DESCRIPTORS)
}

type Work = Pin<Box<dyn Future<Output = Result<TaskOutcome, TaskError>> + Send>>;

/// How far a stream is.
enum Progress {
    /// The agent works; what it has sent so far.
    Working(Work, mpsc::Receiver<String>, String),
    /// The agent is done; what it has sent may not be read yet.
    Done(
        Result<TaskOutcome, TaskError>,
        mpsc::Receiver<String>,
        String,
    ),
    /// Only the last chunk is missing.
    Complete,
    /// Nothing follows.
    Over,
}

#[async_trait::async_trait]
impl AgentService for AgentServer {
    type StreamTaskStream = BoxStream<TaskChunk>;

    async fn execute_task(
        &self,
        request: Request<TaskRequest>,
    ) -> Result<Response<TaskResponse>, Status> {
        let _active = self.active.begin();
        let task = Task::from(request.into_inner());
        let result = self.agent.run(&task, &OutputStream::discard()).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let facts = [
            ("agent_id", self.context.instance_id.clone()),
            (
                "processed_at",
                now.map_or(0, |since| since.as_secs()).to_string(),
            ),
            ("session_id", task.session.clone()),
        ];
        respond(task, facts, result)
    }

    async fn stream_task(
        &self,
        request: Request<TaskRequest>,
    ) -> Result<Response<Self::StreamTaskStream>, Status> {
        let active = self.active.begin();
        let task = Task::from(request.into_inner());
        let (task_id, session_id) = (task.id.clone(), task.session.clone());
        let (stream, pieces) = OutputStream::channel();
        let agent = Arc::clone(&self.agent);
        let work: Work = Box::pin(async move { agent.run(&task, &stream).await });
        let start = Progress::Working(work, pieces, String::new());
        let chunks = stream::unfold(start, move |progress| {
            // The task is active as long as its stream.
            let _active = &active;
            let (task_id, session_id) = (task_id.clone(), session_id.clone());
            async move {
                let (piece, next) = next(progress).await?;
                let chunk = piece.map(|content| TaskChunk {
                    task_id,
                    session_id,
                    content,
                    is_final: matches!(next, Progress::Over),
                });
                Some((chunk, next))
            }
        });
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn get_status(
        &self,
        _request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(self.context.status(&self.active)))
    }

    async fn register_agent(
        &self,
        _request: Request<AgentInfo>,
    ) -> Result<Response<RegistrationResponse>, Status> {
        Err(self.context.no_registrar())
    }

    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        let listed = self.context.matches(&request.get_ref().filter);
        let agent = listed.then(|| self.about.agent(&self.context));
        Ok(Response::new(ListAgentsResponse {
            agents: agent.into_iter().collect(),
        }))
    }
}

/// The next piece of a stream: what the agent sends while it works, the rest of its output, and the
/// mark of the end.
async fn next(mut progress: Progress) -> Option<(Result<String, Status>, Progress)> {
    loop {
        progress = match progress {
            Progress::Working(mut work, mut pieces, mut sent) => tokio::select! {
                // In this order: what was sent before the end comes before it.
                biased;
                Some(piece) = pieces.recv() => {
                    sent.push_str(&piece);
                    return Some((Ok(piece), Progress::Working(work, pieces, sent)));
                }
                result = &mut work => Progress::Done(result, pieces, sent),
            },
            // The agent has let go of the sender, so that this ends with the last piece.
            Progress::Done(result, mut pieces, mut sent) => match (pieces.recv().await, result) {
                (Some(piece), result) => {
                    sent.push_str(&piece);
                    return Some((Ok(piece), Progress::Done(result, pieces, sent)));
                }
                (None, Err(error)) => return Some((Err(error.into()), Progress::Over)),
                (None, Ok(TaskOutcome { output, .. })) => {
                    match output.strip_prefix(&sent).unwrap_or(&output) {
                        "" => Progress::Complete,
                        rest => return Some((Ok(rest.to_owned()), Progress::Complete)),
                    }
                }
            },
            Progress::Complete => return Some((Ok(COMPLETE.to_owned()), Progress::Over)),
            Progress::Over => return None,
        };
    }
}
