//! The gRPC face of an agent.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use futures_util::stream;
use proto::{
    agentplatform::{
        AgentInfo, ListAgentsRequest, ListAgentsResponse, RegistrationResponse, StatusRequest,
        StatusResponse, TaskChunk, TaskRequest, TaskResponse,
        agent_service_server::{AgentService, AgentServiceServer},
    },
    error_info::{self, Reason},
};
use service::{ActiveTasks, Context, Services};
use tokio::sync::mpsc;
use tonic::{Code, Request, Response, Status, codegen::BoxStream, metadata::MetadataValue};

use crate::{About, Agent, OutputStream, Task, TaskError, TaskOutcome};

#[derive(Clone)]
struct AgentServer {
    context: Context,
    about: &'static About,
    agent: Arc<dyn Agent>,
    active: ActiveTasks,
}

/// Serves `agent` as an `agentplatform.AgentService` that lists itself as `about` says.
#[must_use]
pub fn serve(context: &Context, about: &'static About, agent: impl Agent) -> Services {
    let face = AgentServer {
        context: context.clone(),
        about,
        agent: Arc::new(agent),
        active: ActiveTasks::default(),
    };
    let server = AgentServiceServer::new(face);
    Services::new()
        .service(server.max_decoding_message_size(context.max_message_bytes()))
        .descriptors(proto::DESCRIPTORS)
}

type Work = Pin<Box<dyn Future<Output = Result<TaskOutcome, TaskError>> + Send>>;

/// Where a stream is.
enum Reading {
    /// The agent works; what it said so far.
    Working(Work, mpsc::Receiver<String>, String),
    /// All is said but that it is complete.
    Said,
    /// Nothing follows.
    Over,
}

impl AgentServer {
    fn metadata(&self, outcome: &TaskOutcome, session: &str) -> HashMap<String, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let own = [
            ("agent_id", self.context.instance_id.clone()),
            (
                "processed_at",
                now.map_or(0, |since| since.as_secs()).to_string(),
            ),
            ("session_id", session.to_owned()),
        ];
        let facts = outcome.metadata.iter().map(|(k, v)| (*k, v.clone()));
        own.into_iter()
            .chain(facts)
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

#[async_trait::async_trait]
impl AgentService for AgentServer {
    type StreamTaskStream = BoxStream<TaskChunk>;

    async fn execute_task(
        &self,
        request: Request<TaskRequest>,
    ) -> Result<Response<TaskResponse>, Status> {
        let _task = self.active.begin();
        let task = task(request.into_inner());
        let answer = match self.agent.run(&task, &OutputStream::discard()).await {
            Ok(outcome) => TaskResponse {
                metadata: self.metadata(&outcome, &task.session),
                success: true,
                output: outcome.output,
                ..TaskResponse::default()
            },
            Err(TaskError::Invalid(error)) => TaskResponse {
                error,
                ..TaskResponse::default()
            },
            Err(failure @ (TaskError::Unavailable(_) | TaskError::ModelUnavailable { .. })) => {
                return Err(status(&failure));
            }
        };
        Ok(Response::new(TaskResponse {
            task_id: task.id,
            session_id: task.session,
            ..answer
        }))
    }

    async fn stream_task(
        &self,
        request: Request<TaskRequest>,
    ) -> Result<Response<Self::StreamTaskStream>, Status> {
        let busy = self.active.begin();
        let task = task(request.into_inner());
        let (task_id, session_id) = (task.id.clone(), task.session.clone());
        let (stream, pieces) = OutputStream::channel();
        let agent = Arc::clone(&self.agent);
        let work: Work = Box::pin(async move { agent.run(&task, &stream).await });
        let start = Reading::Working(work, pieces, String::new());
        let chunks = stream::unfold(start, move |reading| {
            // The task is under way as long as its stream.
            let _busy = &busy;
            let (task_id, session_id) = (task_id.clone(), session_id.clone());
            let chunk = move |content: String, is_final| TaskChunk {
                task_id,
                content,
                is_final,
                session_id,
            };
            async move {
                match reading {
                    Reading::Working(work, pieces, said) => {
                        let (piece, next) = read(work, pieces, said).await?;
                        Some((piece.map(|piece| chunk(piece, false)), next))
                    }
                    Reading::Said => {
                        Some((Ok(chunk("[COMPLETE]".to_owned(), true)), Reading::Over))
                    }
                    Reading::Over => None,
                }
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

/// The next piece of text: what the agent says while it works, then the rest of its output.
async fn read(
    mut work: Work,
    mut pieces: mpsc::Receiver<String>,
    mut said: String,
) -> Option<(Result<String, Status>, Reading)> {
    // In this order: what was said before the end comes before it.
    tokio::select! {
        biased;
        Some(piece) = pieces.recv() => {
            said.push_str(&piece);
            Some((Ok(piece), Reading::Working(work, pieces, said)))
        }
        done = &mut work => match done {
            Ok(outcome) => {
                // What was said and not yet read is part of the output as well.
                let rest = outcome.output.strip_prefix(&said).unwrap_or(&outcome.output);
                Some((Ok(rest.to_owned()), Reading::Said))
            }
            Err(failure) => Some((Err(status(&failure)), Reading::Over)),
        },
    }
}

fn task(request: TaskRequest) -> Task {
    Task {
        id: request.task_id,
        goal: request.input,
        parameters: request.parameters,
        tools: request.tool_ids,
        session: request.session_id,
    }
}

fn status(failure: &TaskError) -> Status {
    let (code, reason) = match failure {
        TaskError::Invalid(_) => (Code::InvalidArgument, Reason::TaskRefused),
        TaskError::Unavailable(_) => (Code::Unavailable, Reason::DependencyAway),
        // In gRPC's words: to be tried again at a higher level, if at all. The instance is fine.
        TaskError::ModelUnavailable { .. } => (Code::Aborted, Reason::ModelAway),
    };
    let after = match failure {
        TaskError::ModelUnavailable { retry_after, .. } => *retry_after,
        TaskError::Invalid(_) | TaskError::Unavailable(_) => None,
    };
    let facts = after.map(|after| (error_info::RETRY_AFTER, after.as_millis().to_string()));
    let mut status = error_info::status(code, reason, failure.to_string(), facts);
    // Another instance has the same tools and the same model: no hop tries one by itself.
    let stop = MetadataValue::from_static("-1");
    status
        .metadata_mut()
        .insert(channel::Pushback::HEADER, stop);
    status
}
