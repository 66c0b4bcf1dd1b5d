//! What one service offers: its instances are asked once per generation.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use directory::{Descriptors, Directory, Service, own_entry};
use dynamic::FilePool;
use prost_reflect::{MethodDescriptor, ServiceDescriptor};
use proto::agentplatform::{AgentInfo, ToolInfo, ToolOperation, ToolParameter, WorkerInfo};
use serde_json::Value;
use service::ServiceKind;
use tonic::Status;

use super::{
    about::{About, sentences},
    methods::{
        EXECUTE_TASK, EXECUTE_TOOL, Exposure, MOUNT, PLATFORM, PROCESS_TASK, Verdict,
        is_infrastructure,
    },
    mounts,
    pools::Pools,
    sets::DescriptorSets,
};
use crate::{
    Annotations, MeshTool, MountClient, PreparedCall, ToolDefinition, ToolTarget,
    schema::{self, SchemaOptions},
    text::{MAX_DESCRIPTION, clean},
};

/// Methods of one service at most: reflection may list any number.
const MAX_METHODS: usize = 1_000;
/// Longest title, characters.
const MAX_TITLE: usize = 128;

/// Asks services for what they offer.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) directory: Arc<Directory>,
    pub(super) sets: Arc<DescriptorSets>,
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
    /// Resources of a mount, as it lists them.
    pub(super) resources: Vec<Value>,
    /// What its methods are described by, for other services of the same files.
    pool: Option<Arc<FilePool>>,
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
    fn report(&mut self, problem: impl AsRef<str>) {
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

    /// The tools and resources of a mounted MCP server, with all that it says of them.
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
            sets: Arc::clone(&self.sets),
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

/// Which methods are looked for, and how they are shown.
struct Question {
    service: Arc<Service>,
    exposure: Exposure,
    sets: Arc<DescriptorSets>,
    pools: Arc<Pools>,
    schema: SchemaOptions,
    wanted: BTreeSet<String>,
}

impl Question {
    fn answer(&self, reflected: &Result<Arc<Descriptors>, Status>) -> ServiceTools {
        let mut found = ServiceTools::default();
        let files = match reflected {
            Ok(told) => {
                let files = told.files().map(|(_, bytes): (&str, &Bytes)| bytes.clone());
                self.pools.of(&self.sets.with_comments(files))
            }
            Err(_) => self.pools.of(&[]),
        };
        let missing = || match reflected {
            Err(status) => format!("its reflection does not answer: {}", told(status)),
            Ok(told) if told.files().next().is_none() => {
                "it has no reflection: give its files in mcp_descriptor_sets".to_owned()
            }
            Ok(_) => files.problem().map_or_else(
                || "its reflection does not describe it".to_owned(),
                |problem| format!("its reflection does not fit together: {problem}"),
            ),
        };
        if self.wanted.is_empty() {
            found.report(missing());
        }
        found.pool = Some(Arc::clone(&files));
        for name in &self.wanted {
            let described = files.pool.get_service_by_name(name).or_else(|| {
                let set = self.sets.describing(name)?;
                set.pool.get_service_by_name(name)
            });
            match described {
                Some(described) => self.service_methods(&described, &mut found),
                None => found.report(format!("{name}: {}", missing())),
            }
        }
        for (service, method) in self.exposure.names() {
            let is_of_pool = self.wanted.contains(service);
            let is_known = |pool: &ServiceDescriptor| pool.methods().any(|it| it.name() == method);
            let known = files.pool.get_service_by_name(service);
            if is_of_pool && known.is_some_and(|known| !is_known(&known)) {
                found.report(format!("{service} has no method {method}"));
            }
        }
        found
    }

    fn service_methods(&self, described: &ServiceDescriptor, found: &mut ServiceTools) {
        for method in described.methods() {
            let path = dynamic::path(&method);
            let left_out = |reason: &str| LeftOut {
                method: path.clone(),
                reason: reason.to_owned(),
            };
            match self.exposure.verdict(described.full_name(), method.name()) {
                Verdict::Unlisted => continue,
                Verdict::LeftOut(why) => {
                    found.left_out.push(left_out(why));
                    continue;
                }
                Verdict::Tool => {}
            }
            if found.tools.len() >= MAX_METHODS {
                found.report(format!("it has more than {MAX_METHODS} methods"));
                return;
            }
            match self.method(&method, &path) {
                Ok(tool) => found.tools.push(tool),
                Err(status) => found.left_out.push(left_out(status.message())),
            }
        }
    }

    fn method(&self, method: &MethodDescriptor, path: &str) -> Result<ServiceTool, Status> {
        let (service, parent) = (&self.service, method.parent_service());
        let name = format!("{}_{}", parent.name(), method.name());
        let comment = schema::method_comment(method);
        let description = match comment.is_empty() {
            true => format!("Calls {path} of {}.", service.name),
            false => comment,
        };
        let full = (parent.full_name(), method.name());
        let mut named = Named::method(service, &self.exposure, full);
        // A call that goes on as a job answers with the name of that.
        let output_schema =
            (!named.is_task).then(|| schema::method_output_schema(method, &self.schema));
        let definition = ToolDefinition {
            title: clean(&format!("{} {}", parent.name(), method.name()), MAX_TITLE),
            description: clean(&description, MAX_DESCRIPTION),
            input_schema: schema::method_input_schema(method, &self.schema),
            output_schema,
            ..ToolDefinition::default()
        };
        let target = ToolTarget::Method(PreparedCall::new(&service.name, method.clone())?);
        // What the proto file declares.
        let options = method.method_descriptor_proto().options.as_ref();
        let level = options.map_or("", |options| options.idempotency_level().as_str_name());
        if level == "NO_SIDE_EFFECTS" {
            named.annotations.read_only = Some(true);
        }
        if ["NO_SIDE_EFFECTS", "IDEMPOTENT"].contains(&level) {
            named.annotations.idempotent = Some(true);
        }
        let wanted = format!("{}__{name}", service.name);
        Ok(named.tool(definition, target, path, wanted, name))
    }
}

/// A method that is one tool or several, and what is declared of it.
struct Named<'a> {
    service: &'a Service,
    is_task: bool,
    annotations: Annotations,
    path: String,
}

impl<'a> Named<'a> {
    fn method(service: &'a Service, exposure: &Exposure, of: (&str, &str)) -> Self {
        let path = format!("{}/{}", of.0, of.1);
        let declared = |is: bool| is.then_some(true);
        let idempotent = service.representative();
        let idempotent = idempotent.is_some_and(|instance| instance.is_idempotent(&path));
        Self {
            service,
            is_task: exposure.is_task(of.0, of.1),
            annotations: Annotations {
                read_only: declared(exposure.is_read_only(of.0, of.1)),
                destructive: declared(exposure.is_destructive(of.0, of.1)),
                idempotent: declared(idempotent),
                open_world: None,
            },
            path,
        }
    }

    /// The tool that stands for the whole service.
    fn whole(&self, definition: ToolDefinition, target: ToolTarget) -> ServiceTool {
        let id = self.service.public_id.clone();
        self.tool(definition, target, &self.path, id.clone(), id)
    }

    fn mounted(&self, name: &str, definition: ToolDefinition) -> ServiceTool {
        let declared = definition.annotations;
        let named = Self {
            annotations: Annotations {
                read_only: declared.read_only.or(self.annotations.read_only),
                destructive: declared.destructive.or(self.annotations.destructive),
                idempotent: declared.idempotent.or(self.annotations.idempotent),
                open_world: declared.open_world,
            },
            path: self.path.clone(),
            ..*self
        };
        let identity = format!("{}#{name}", self.path);
        let wanted = format!("{}__{name}", self.service.public_id);
        let target = ToolTarget::Mounted { tool: name.into() };
        named.tool(definition, target, &identity, wanted, name.to_owned())
    }

    fn operation(&self, about: &About, operation: ToolOperation) -> ServiceTool {
        let parameters: Arc<[ToolParameter]> = operation.parameters.into();
        let name = operation.name;
        let title = format!("{}: {name}", about.name);
        let texts = [operation.description.as_str(), &about.description];
        let definition = ToolDefinition {
            title: clean(&title, MAX_TITLE),
            description: clean(&sentences(texts), MAX_DESCRIPTION),
            input_schema: schema::operation_input_schema(&parameters, false),
            output_schema: schema::operation_output_schema(&operation.output_schema),
            ..ToolDefinition::default()
        };
        let declared = self.annotations;
        let named = Self {
            annotations: Annotations {
                read_only: operation.read_only.or(declared.read_only),
                destructive: operation.destructive.or(declared.destructive),
                idempotent: operation.idempotent.or(declared.idempotent),
                open_world: None,
            },
            path: self.path.clone(),
            ..*self
        };
        let target = ToolTarget::ToolOperation {
            operation: Some(name.as_str().into()),
            parameters,
        };
        let identity = format!("{}#{name}", self.path);
        let wanted = format!("{}__{name}", self.service.public_id);
        named.tool(definition, target, &identity, wanted, name)
    }

    fn tool(
        &self,
        definition: ToolDefinition,
        target: ToolTarget,
        identity: &str,
        wanted: String,
        local: String,
    ) -> ServiceTool {
        let definition = ToolDefinition {
            name: wanted,
            annotations: self.annotations,
            ..definition
        };
        let public_id = self.service.public_id.as_str().into();
        let mut tool = definition.tool(&self.service.name, &public_id, target);
        tool.is_task = self.is_task;
        ServiceTool {
            identity: format!("{}/{identity}", self.service.name),
            local,
            tool: Arc::new(tool),
        }
    }
}

/// Whether a service serves this, as far as it says.
fn serves(service: &Service, grpc_service: &str) -> bool {
    let known = &service.grpc_services;
    known.is_empty() || known.iter().any(|name| name == grpc_service)
}

fn told(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}
