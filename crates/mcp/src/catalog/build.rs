//! What one service offers: its instances are asked once per generation.

use std::{collections::BTreeSet, sync::Arc};

use directory::{Directory, Service, own_entry};
use dynamic::FilePool;
use proto::agentplatform::{AgentInfo, ToolInfo, ToolParameter, WorkerInfo};
use serde_json::Value;
use service::ServiceKind;
use tonic::Status;

use super::{
    about::About,
    methods::{
        EXECUTE_TASK, EXECUTE_TOOL, Exposure, MOUNT, PLATFORM, PROCESS_TASK, is_infrastructure,
    },
    mounts,
    named::Named,
    pools::Pools,
    reflected::Question,
    sets::FollowedSets,
};
use crate::{
    MeshTool, MountClient, ToolDefinition, ToolTarget,
    schema::{self, SchemaOptions},
    text::{MAX_DESCRIPTION, MAX_TITLE, clean},
};

/// Methods of one service at most: reflection may list any number.
pub(super) const MAX_METHODS: usize = 1_000;

/// Asks services for what they offer.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) directory: Arc<Directory>,
    pub(super) sets: Arc<FollowedSets>,
    pub(super) pools: Arc<Pools>,
    pub(super) schema: SchemaOptions,
}

/// What one service offers.
#[derive(Debug, Default)]
pub(super) struct ServiceTools {
    pub(super) tools: Vec<ServiceTool>,
    /// What it says of itself: agents, tools and workers.
    pub(super) about: Option<About>,
    /// Why something of it is missing.
    pub(super) problem: Option<String>,
    pub(super) left_out: Vec<LeftOut>,
    /// Resources and prompts of a mount, as it lists them.
    pub(super) resources: Vec<Value>,
    pub(super) prompts: Vec<Value>,
    /// What its methods are described by, for other services of the same files.
    pub(super) pool: Option<Arc<FilePool>>,
}

/// A tool before it has its name.
#[derive(Clone, Debug)]
pub(super) struct ServiceTool {
    /// What no other tool has.
    pub(super) identity: String,
    /// Its name among the tools of its service.
    pub(super) local: String,
    /// Under the name that it is to have among all tools.
    pub(super) tool: Arc<MeshTool>,
}

/// A method that is none of the tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// `pkg.Service/Method`.
    pub method: String,
    /// Why.
    pub reason: String,
}

impl ServiceTools {
    /// Nothing, and why.
    pub(super) fn nothing(problem: impl Into<String>) -> Self {
        Self {
            problem: Some(problem.into()),
            ..Self::default()
        }
    }

    /// Adds a reason why something is missing.
    pub(super) fn report(&mut self, problem: impl AsRef<str>) {
        // What services say goes to terminals too.
        let problem = clean(problem.as_ref(), 500);
        match &mut self.problem {
            Some(known) => {
                known.push_str("; ");
                known.push_str(&problem);
            }
            none => *none = Some(problem),
        }
    }
}

impl Builder {
    /// Asks a service that has a healthy instance.
    pub(super) async fn build(&self, service: &Arc<Service>, exposure: &Exposure) -> ServiceTools {
        let mut found = ServiceTools::default();
        if exposure.is_off() {
            return found;
        }
        let own = match service.kind {
            ServiceKind::Agent => self.agent(service, exposure, &mut found).await,
            ServiceKind::Tool => self.tool(service, exposure, &mut found).await,
            ServiceKind::Worker => self.worker(service, exposure, &mut found).await,
            ServiceKind::Router | ServiceKind::Service => Ok(()),
        };
        if let Err(status) = own {
            found.report(format!("it does not say what it does: {}", told(&status)));
        }
        self.methods(service, exposure, &mut found).await;
        found.tools.sort_by(|a, b| a.identity.cmp(&b.identity));
        let given = found.tools.len();
        found.tools.dedup_by(|a, b| a.identity == b.identity);
        let twice = given - found.tools.len();
        if twice > 0 {
            found.report(format!("{twice} of its tools have names of others of it"));
        }
        found
    }

    async fn agent(
        &self,
        service: &Service,
        exposure: &Exposure,
        found: &mut ServiceTools,
    ) -> Result<(), Status> {
        if !serves(service, EXECUTE_TASK.0) {
            return Ok(());
        }
        let info: AgentInfo = own_entry(&self.directory, service)
            .await?
            .unwrap_or_default();
        let about = About::agent(service, info);
        if exposure.has(EXECUTE_TASK) {
            let definition = ToolDefinition {
                title: clean(&about.name, MAX_TITLE),
                description: clean(&about.summary(), MAX_DESCRIPTION),
                input_schema: schema::agent_input_schema(),
                output_schema: Some(schema::task_output_schema()),
                ..ToolDefinition::default()
            };
            let task = Named::method(service, exposure, EXECUTE_TASK);
            found.tools.push(task.whole(definition, ToolTarget::Agent));
        }
        found.about = Some(about);
        Ok(())
    }

    async fn worker(
        &self,
        service: &Service,
        exposure: &Exposure,
        found: &mut ServiceTools,
    ) -> Result<(), Status> {
        if !serves(service, PROCESS_TASK.0) {
            return Ok(());
        }
        let info: WorkerInfo = own_entry(&self.directory, service)
            .await?
            .unwrap_or_default();
        let parameters: Arc<[ToolParameter]> = info.parameters.clone().into();
        let about = About::worker(service, info);
        if exposure.has(PROCESS_TASK) {
            let definition = ToolDefinition {
                title: clean(&about.name, MAX_TITLE),
                description: clean(&about.summary(), MAX_DESCRIPTION),
                input_schema: schema::worker_input_schema(&parameters),
                output_schema: Some(schema::task_output_schema()),
                ..ToolDefinition::default()
            };
            let task = Named::method(service, exposure, PROCESS_TASK);
            let target = ToolTarget::Worker { parameters };
            found.tools.push(task.whole(definition, target));
        }
        found.about = Some(about);
        Ok(())
    }

    async fn tool(
        &self,
        service: &Service,
        exposure: &Exposure,
        found: &mut ServiceTools,
    ) -> Result<(), Status> {
        if !serves(service, EXECUTE_TOOL.0) {
            return Ok(());
        }
        let info: ToolInfo = own_entry(&self.directory, service)
            .await?
            .unwrap_or_default();
        let (operations, parameters) = (info.operations.clone(), info.parameters.clone());
        let about = About::tool(service, info);
        let is_mount = service.grpc_services.iter().any(|name| name == MOUNT);
        if exposure.has(EXECUTE_TOOL) && is_mount {
            let named = Named::method(service, exposure, EXECUTE_TOOL);
            self.mounted(service, &named, found).await?;
        } else if exposure.has(EXECUTE_TOOL) {
            let named = Named::method(service, exposure, EXECUTE_TOOL);
            if operations.is_empty() {
                let definition = ToolDefinition {
                    title: clean(&about.name, MAX_TITLE),
                    description: clean(&about.summary(), MAX_DESCRIPTION),
                    input_schema: schema::operation_input_schema(&parameters, true),
                    ..ToolDefinition::default()
                };
                let target = ToolTarget::ToolOperation {
                    operation: None,
                    parameters: parameters.into(),
                };
                found.tools.push(named.whole(definition, target));
            }
            for operation in operations.into_iter().take(MAX_METHODS) {
                found.tools.push(named.operation(&about, operation));
            }
        }
        found.about = Some(about);
        Ok(())
    }

    /// The tools, resources and prompts of a mounted MCP server, with all that it says of them.
    async fn mounted(
        &self,
        service: &Service,
        named: &Named<'_>,
        found: &mut ServiceTools,
    ) -> Result<(), Status> {
        let client = MountClient::new(self.directory.mesh().clone());
        let entries = mounts::list(&client, &service.name, "tools").await?;
        let (given, mut refused) = (entries.len(), 0);
        for entry in entries {
            match mounts::definition(entry) {
                Some((name, definition)) => found.tools.push(named.mounted(&name, definition)),
                None => refused += 1,
            }
        }
        if refused > 0 {
            found.report(format!(
                "{refused} of its {given} tools have no usable definition"
            ));
        }
        // Most servers have none, and say that they do not know the method.
        let resources = mounts::list(&client, &service.name, "resources").await;
        found.resources = resources.unwrap_or_default();
        let prompts = mounts::list(&client, &service.name, "prompts").await;
        found.prompts = prompts.unwrap_or_default();
        Ok(())
    }

    /// The methods of the gRPC services that are not the mesh's own contract.
    async fn methods(&self, service: &Arc<Service>, exposure: &Exposure, found: &mut ServiceTools) {
        let is_of_mesh = service.kind != ServiceKind::Service;
        let names = exposure.names().map(|(name, _)| name.to_owned());
        let mut wanted: BTreeSet<String> =
            names.chain(service.grpc_services.iter().cloned()).collect();
        wanted.retain(|name| {
            let is_platform = is_of_mesh && name.starts_with(PLATFORM);
            !is_platform && !is_infrastructure(name)
        });
        let asked = !wanted.is_empty() || (!is_of_mesh && service.grpc_services.is_empty());
        if !asked {
            return;
        }
        let reflected = self.directory.reflected(service).await;
        let question = Question {
            service: Arc::clone(service),
            exposure: exposure.clone(),
            sets: self.sets.current(),
            pools: Arc::clone(&self.pools),
            schema: self.schema,
            wanted,
        };
        // A large set of files is work for a while, and one that lies may end in a panic.
        let answer = tokio::task::spawn_blocking(move || question.answer(&reflected)).await;
        match answer {
            Ok(answer) => {
                found.tools.extend(answer.tools);
                found.left_out.extend(answer.left_out);
                found.pool = answer.pool;
                if let Some(problem) = answer.problem {
                    found.report(problem);
                }
            }
            Err(_) => found.report("its descriptors cannot be used: they contradict themselves"),
        }
    }
}

/// Whether a service serves this, as far as it says.
fn serves(service: &Service, grpc_service: &str) -> bool {
    let known = &service.grpc_services;
    known.is_empty() || known.iter().any(|name| name == grpc_service)
}

pub(super) fn told(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}
