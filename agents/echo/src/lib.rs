//! The echo agent: repeats what it is told, which shows whether a call arrived, and where.

mod info;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use config::{duration, keys};
use proto::agentplatform::{
    AgentInfo, ListAgentsRequest, ListAgentsResponse, RegistrationResponse, StatusRequest,
    StatusResponse, TaskChunk, TaskRequest, TaskResponse,
    agent_service_server::{AgentService, AgentServiceServer},
};
use service::{ActiveTasks, Context, ServiceKind, Services, Spec};
use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, codegen::BoxStream};

/// What the echo agent says of itself.
pub const SPEC: Spec = Spec {
    program: "echo-agent",
    service: "agent-echo",
    kind: ServiceKind::Agent,
    tags: &["agent", "echo", "text-processing"],
    port_env: "AGENT_PORT",
    default_port: 50052,
    version: env!("CARGO_PKG_VERSION"),
    about: "The echo agent: repeats what it is told",
    idempotent: &["*"],
    keys: &[service::GRPC, &[EchoKeys::GROUP]],
};

keys! {
    /// The echo agent.
    #[derive(Clone, Debug)]
    pub(crate) struct EchoKeys: "Echo agent" {
        /// Simulated work of each task, and of each streamed word.
        delay: Duration = duration("0s").zero("no delay").env("ECHO_DELAY"),
    }
}

struct Echo {
    context: Context,
    delay: Duration,
    active: ActiveTasks,
    tasks: AtomicU64,
}

/// Builds the service of one instance.
///
/// # Errors
/// None at present.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let echo = Echo {
        context: context.clone(),
        delay: EchoKeys::from_config(&context.config).delay,
        active: ActiveTasks::default(),
        tasks: AtomicU64::new(0),
    };
    let server =
        AgentServiceServer::new(echo).max_decoding_message_size(context.max_message_bytes());
    Ok(Services::new()
        .service(server)
        .descriptors(proto::DESCRIPTORS))
}

#[async_trait::async_trait]
impl AgentService for Echo {
    type StreamTaskStream = BoxStream<TaskChunk>;

    async fn execute_task(
        &self,
        request: Request<TaskRequest>,
    ) -> Result<Response<TaskResponse>, Status> {
        let _task = self.active.begin();
        let task_number = self.tasks.fetch_add(1, Relaxed) + 1;
        let request = request.into_inner();
        sleep(self.delay).await;
        let output = output(&request);
        let mut metadata = HashMap::from([
            ("agent_id".to_owned(), self.context.instance_id.clone()),
            ("processed_at".to_owned(), unix_seconds().to_string()),
            ("task_number".to_owned(), task_number.to_string()),
        ]);
        if !request.session_id.is_empty() {
            metadata.insert("session_id".to_owned(), request.session_id.clone());
        }
        Ok(Response::new(TaskResponse {
            task_id: request.task_id,
            output,
            success: true,
            error: String::new(),
            metadata,
            session_id: request.session_id,
        }))
    }

    async fn stream_task(
        &self,
        request: Request<TaskRequest>,
    ) -> Result<Response<Self::StreamTaskStream>, Status> {
        let task = self.active.begin();
        self.tasks.fetch_add(1, Relaxed);
        let TaskRequest {
            task_id,
            session_id,
            input,
            ..
        } = request.into_inner();
        let words: Vec<String> = input.split_whitespace().map(str::to_owned).collect();
        let delay = self.delay;
        let chunks = words.into_iter().map(Some).chain([None]);
        let stream = tokio_stream::iter(chunks).then(move |word| async move {
            sleep(delay).await;
            word
        });
        let stream = stream.map(move |word| {
            // The task lives as long as the stream that owns it.
            let _task = &task;
            Ok(TaskChunk {
                task_id: task_id.clone(),
                is_final: word.is_none(),
                content: word.unwrap_or_else(|| "[COMPLETE]".to_owned()),
                session_id: session_id.clone(),
            })
        });
        Ok(Response::new(Box::pin(stream)))
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
        let agents = listed
            .then(|| info::info(&self.context))
            .into_iter()
            .collect();
        Ok(Response::new(ListAgentsResponse { agents }))
    }
}

/// Parameters print sorted by key, so that the same request has the same answer.
fn output(request: &TaskRequest) -> String {
    let mut parameters: Vec<String> = request
        .parameters
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    parameters.sort();
    let input = &request.input;
    if parameters.is_empty() {
        format!("Echo Agent Response: {input}")
    } else {
        format!(
            "Echo Agent Response: {input} | Parameters: {}",
            parameters.join(", ")
        )
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
