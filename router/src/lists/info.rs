//! The three messages of the lists, as one.

use channel::Channel;
use discovery::ServiceKind;
use proto::agentplatform::{
    AgentInfo, ListAgentsRequest, ListToolsRequest, ListWorkersRequest, ToolInfo, WorkerInfo,
    agent_service_client::AgentServiceClient, task_worker_client::TaskWorkerClient,
    tool_service_client::ToolServiceClient,
};
use tonic::Status;

use crate::{directory::Service, single_flight::SingleFlight};

/// What a list says of one service.
pub(crate) trait Info: Clone + Default + Send {
    /// Whom it is about.
    const KIND: ServiceKind;

    fn id(&mut self) -> &mut String;
    fn name(&mut self) -> &mut String;
    fn description(&mut self) -> &mut String;
    fn endpoint(&mut self) -> &mut String;
    fn version(&mut self) -> &mut String;
    /// The words it can be found by; `None` when the message has no such field.
    fn tags(&mut self) -> Option<&mut Vec<String>>;

    /// Where a service's own entry is remembered.
    fn self_reported(service: &Service) -> &SingleFlight<Option<Self>>;

    /// Asks one instance for its own list.
    fn query(channel: Channel) -> impl Future<Output = Result<Vec<Self>, Status>> + Send;
}

macro_rules! described {
    ($info:ty, $kind:ident, $id:ident, $tags:expr, $self_reported:ident,
     $client:ident . $list:ident ($request:ident) . $entries:ident) => {
        impl Info for $info {
            const KIND: ServiceKind = ServiceKind::$kind;

            fn id(&mut self) -> &mut String {
                &mut self.$id
            }

            fn name(&mut self) -> &mut String {
                &mut self.name
            }

            fn description(&mut self) -> &mut String {
                &mut self.description
            }

            fn endpoint(&mut self) -> &mut String {
                &mut self.endpoint
            }

            fn version(&mut self) -> &mut String {
                &mut self.version
            }

            fn tags(&mut self) -> Option<&mut Vec<String>> {
                let tags: fn(&mut Self) -> Option<&mut Vec<String>> = $tags;
                tags(self)
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
    agent_id,
    |it| Some(&mut it.capabilities),
    agent,
    AgentServiceClient.list_agents(ListAgentsRequest).agents
);
described!(
    ToolInfo,
    Tool,
    tool_id,
    |_| None,
    tool,
    ToolServiceClient.list_tools(ListToolsRequest).tools
);
described!(
    WorkerInfo,
    Worker,
    worker_id,
    |it| Some(&mut it.tags),
    worker,
    TaskWorkerClient.list_workers(ListWorkersRequest).workers
);
