//! The catalog over services that are really served.

mod descriptor_files;
mod limits;
mod mounts;
mod services;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use discovery::Discovery as _;
use proto::agentplatform::{
    ListToolsRequest, ListToolsResponse, RegistrationResponse, ToolInfo, ToolOperation,
    ToolParameter, ToolRequest, ToolResponse,
    tool_service_server::{ToolService, ToolServiceServer},
};
use serde_json::Value;
use service::MethodList;
use testkit::fixture::{Fixture, registration, with_meta};
use tonic::{Request, Response, Status, service::Routes};

use super::*;
use crate::{MeshTool, ToolTarget};

/// Settings as instances announce them in Meta.
#[derive(Debug)]
struct Announced(watch::Sender<u64>);

impl ToolSettingsSource for Announced {
    fn of(&self, service: &Service) -> ToolSettings {
        let meta = service.meta();
        let list = |key: &str| MethodList::parse(meta.get(key)?);
        ToolSettings {
            mcp: list("mcp"),
            mcp_read_only: list("mcp_read_only").unwrap_or_default(),
            mcp_destructive: list("mcp_destructive").unwrap_or_default(),
            mcp_tasks: list("mcp_tasks"),
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

struct World {
    mesh: Fixture,
    catalog: Arc<Catalog>,
}

impl World {
    fn new() -> Self {
        Self::with(&CatalogKeys::default())
    }

    fn with(keys: &CatalogKeys) -> Self {
        let mesh = Fixture::new();
        let settings = Arc::new(Announced(watch::channel(0).0));
        let schema = SchemaOptions::default();
        let catalog = Catalog::with_settings(&mesh.directory, settings, keys, schema);
        Self {
            catalog: catalog.unwrap(),
            mesh,
        }
    }

    async fn until(&self, what: impl Fn(&CatalogSnapshot) -> bool) -> Arc<CatalogSnapshot> {
        let mut changes = self.catalog.changes();
        let seen = changes.wait_for(|snapshot| what(snapshot));
        let seen = timeout(Duration::from_secs(8), seen).await;
        Arc::clone(&*seen.expect("the catalog shows it in time").unwrap())
    }

    async fn until_named(&self, names: &[&str]) -> Arc<CatalogSnapshot> {
        self.until(|snapshot| snapshot.ready && listed(snapshot) == names)
            .await
    }

    /// Registers a server of these routes whose Meta has `mcp = "*"`.
    async fn serve(&mut self, id: &str, service: &str, routes: Routes) {
        let address = self.mesh.serve(routes).await;
        self.register(id, service, address).await;
    }

    async fn register(&self, id: &str, service: &str, address: SocketAddr) {
        let it = with_meta(registration(id, service, address), "mcp", "*");
        self.mesh.register(it).await;
    }
}

fn listed(snapshot: &CatalogSnapshot) -> Vec<&str> {
    snapshot
        .all()
        .tools
        .iter()
        .map(|tool| &*tool.name)
        .collect()
}

fn entry(tool: &MeshTool) -> Value {
    serde_json::from_slice(&tool.json).unwrap()
}

fn service<'a>(snapshot: &'a CatalogSnapshot, name: &str) -> &'a CatalogService {
    snapshot.services().find(|it| &*it.name == name).unwrap()
}

/// A tool that counts how often it is asked what it does.
#[derive(Clone, Debug, Default)]
struct Tool {
    asked: Arc<AtomicUsize>,
    operations: Vec<&'static str>,
}

impl Tool {
    fn routes(&self) -> Routes {
        Routes::new(ToolServiceServer::new(self.clone()))
    }
}

#[tonic::async_trait]
impl ToolService for Tool {
    async fn execute_tool(
        &self,
        _: Request<ToolRequest>,
    ) -> Result<Response<ToolResponse>, Status> {
        Ok(Response::new(ToolResponse::default()))
    }

    async fn list_tools(
        &self,
        _: Request<ListToolsRequest>,
    ) -> Result<Response<ListToolsResponse>, Status> {
        self.asked.fetch_add(1, Relaxed);
        let operations = self.operations.iter().map(|name| ToolOperation {
            name: (*name).to_owned(),
            description: "Do\u{200b}es it\u{7}".to_owned(),
            parameters: vec![ToolParameter {
                name: "city".to_owned(),
                r#type: "string".to_owned(),
                required: true,
                description: "where".to_owned(),
            }],
            read_only: Some(true),
            ..ToolOperation::default()
        });
        let info = ToolInfo {
            name: "Atlas".to_owned(),
            operations: operations.collect(),
            ..ToolInfo::default()
        };
        Ok(Response::new(ListToolsResponse { tools: vec![info] }))
    }

    async fn register_tool(
        &self,
        _: Request<ToolInfo>,
    ) -> Result<Response<RegistrationResponse>, Status> {
        Err(Status::unimplemented("no"))
    }
}
