//! An agent as an `agentplatform.AgentService`.

use std::sync::Arc;

use chrono::Utc;
use futures_util::{StreamExt as _, stream};
use proto::agentplatform::{
    AgentInfo, ListAgentsRequest, ListAgentsResponse, RegistrationResponse, StatusRequest,
    StatusResponse, TaskChunk, TaskRequest, TaskResponse,
    agent_service_server::{AgentService, AgentServiceServer},
};
use service::{ActiveTasks, Context, Services};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, codegen::BoxStream};

use crate::{About, Agent, OutputStream, Task, TaskError, TaskOutcome, genai_span, task::respond};

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

#[async_trait::async_trait]
impl AgentService for AgentServer {
    type StreamTaskStream = BoxStream<TaskChunk>;

    async fn execute_task(
        &self,
        request: Request<TaskRequest>,
    ) -> Result<Response<TaskResponse>, Status> {
        let _active = self.active.begin();
        let task = Task::from(request.into_inner());
        let mut span = genai_span::agent(&self.context, &task);
        let unread = OutputStream::discard();
        let result = span.run(self.agent.run(&task, &unread)).await;
        genai_span::ended(&mut span, &result);
        let facts = [
            ("agent_id", self.context.instance_id.clone()),
            ("processed_at", Utc::now().timestamp().to_string()),
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
        let mut span = genai_span::agent(&self.context, &task);
        let work = Box::pin(async move {
            let result = span.run(agent.run(&task, &stream)).await;
            genai_span::ended(&mut span, &result);
            result
        });
        let pieces = stream::unfold(Some((work, pieces, String::new())), next);
        let chunks = pieces.flat_map(stream::iter).map(move |piece| {
            // The task is active as long as its stream.
            let _active = &active;
            piece.map(|(content, is_final)| TaskChunk {
                task_id: task_id.clone(),
                session_id: session_id.clone(),
                content,
                is_final,
            })
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

/// The text of a chunk, and whether it is the last.
type Piece = Result<(String, bool), Status>;

/// A stream under way: the agent's work, the pieces that it sends, and the text of those that were read.
type Streaming<W> = (W, mpsc::Receiver<String>, String);

/// The next pieces of a stream: what the agent sends while it works, then the rest of its output and the
/// mark of the end.
async fn next<W>(state: Option<Streaming<W>>) -> Option<(Vec<Piece>, Option<Streaming<W>>)>
where
    W: Future<Output = Result<TaskOutcome, TaskError>> + Unpin,
{
    let (mut work, mut pieces, mut sent) = state?;
    let result = tokio::select! {
        // In this order: what was sent before the end comes before it.
        biased;
        Some(piece) = pieces.recv() => {
            sent.push_str(&piece);
            return Some((vec![Ok((piece, false))], Some((work, pieces, sent))));
        }
        result = &mut work => result,
    };
    let mut last: Vec<Piece> = Vec::new();
    // The agent may have sent several pieces since we read.
    while let Ok(piece) = pieces.try_recv() {
        sent.push_str(&piece);
        last.push(Ok((piece, false)));
    }
    match result {
        Err(error) => last.push(Err(error.into())),
        Ok(TaskOutcome { output, .. }) => {
            let rest = output.strip_prefix(&sent).unwrap_or(&output);
            if !rest.is_empty() {
                last.push(Ok((rest.to_owned(), false)));
            }
            last.push(Ok((COMPLETE.to_owned(), true)));
        }
    }
    Some((last, None))
}
