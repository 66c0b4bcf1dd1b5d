//! The three messages of the lists, as one.

use channel::Channel;
use discovery::ServiceKind;
use proto::agentplatform::{
    AgentInfo, ListAgentsRequest, ListToolsRequest, ListWorkersRequest, ToolInfo, WorkerInfo,
    agent_service_client::AgentServiceClient, task_worker_client::TaskWorkerClient,
    tool_service_client::ToolServiceClient,
};
use tonic::Status;

use crate::{Service, single_flight::SingleFlight};

/// The fields of an entry that are filled in from the registry.
#[derive(Debug)]
pub struct Fields<'a> {
    /// Public id.
    pub id: &'a mut String,
    /// The name for people.
    pub name: &'a mut String,
    /// What it does.
    pub description: &'a mut String,
    /// `host:port` of an instance.
    pub endpoint: &'a mut String,
    /// The version of its code.
    pub version: &'a mut String,
    /// The words it can be found by; `None` when the message has no such field.
    pub tags: Option<&'a mut Vec<String>>,
}

/// What a list says of one service: [`AgentInfo`], [`ToolInfo`] or [`WorkerInfo`].
pub trait Info: Clone + Default + Send {
    /// Whom it is about.
    const KIND: ServiceKind;

    /// The fields that the registry fills in.
    fn fields(&mut self) -> Fields<'_>;

    /// Where a service's own entry is remembered.
    fn self_reported(service: &Service) -> &SingleFlight<Option<Self>>;

    /// Asks one instance for its own list.
    fn query(channel: Channel) -> impl Future<Output = Result<Vec<Self>, Status>> + Send;
}

macro_rules! described {
    (@tags $it:ident $tags:ident) => {
        Some(&mut $it.$tags)
    };
    (@tags $it:ident) => {
        None
    };
    ($info:ty, $kind:ident, $id:ident $(+ $tags:ident)?, $self_reported:ident,
     $client:ident . $list:ident ($request:ident) . $entries:ident) => {
        impl Info for $info {
            const KIND: ServiceKind = ServiceKind::$kind;

            fn fields(&mut self) -> Fields<'_> {
                Fields {
                    id: &mut self.$id,
                    name: &mut self.name,
                    description: &mut self.description,
                    endpoint: &mut self.endpoint,
                    version: &mut self.version,
                    tags: described!(@tags self $($tags)?),
                }
            }

            fn self_reported(service: &Service) -> &SingleFlight<Option<Self>> {
                &service.self_reported.$self_reported
            }

            async fn query(channel: Channel) -> Result<Vec<Self>, Status> {
                let answer = $client::new(channel).$list($request::default()).await?;
                Ok(answer.into_inner().$entries)
            }
        }
    };
}

described!(
    AgentInfo,
    Agent,
    agent_id + capabilities,
    agent,
    AgentServiceClient.list_agents(ListAgentsRequest).agents
);
described!(
    ToolInfo,
    Tool,
    tool_id,
    tool,
    ToolServiceClient.list_tools(ListToolsRequest).tools
);
described!(
    WorkerInfo,
    Worker,
    worker_id + tags,
    worker,
    TaskWorkerClient.list_workers(ListWorkersRequest).workers
);
