//! All tools, resources and prompts of one moment.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use directory::Service;
use service::ServiceKind;

use super::build::{LeftOut, ServiceTools};
use crate::{MeshTool, ToolTarget};

/// All tools, resources and prompts of the mesh, as of one moment.
#[derive(Debug, Default)]
pub struct CatalogSnapshot {
    /// Grows with every change.
    pub version: u64,
    /// Whether every service that the registry knew at first has been asked. Stays `true`.
    pub ready: bool,
    pub(super) all: Arc<CatalogView>,
    pub(super) services: BTreeMap<Arc<str>, Arc<CatalogService>>,
    /// Public id → Consul name.
    pub(super) ids: HashMap<String, Arc<str>>,
}

/// One service, and what the catalog has of it.
#[derive(Debug)]
pub struct CatalogService {
    /// Consul name.
    pub name: Arc<str>,
    /// What clients call it.
    pub public_id: String,
    /// What it is to the mesh.
    pub kind: ServiceKind,
    /// Which of its methods are tools, as the setting `mcp` says: `off`, `*` or a list.
    pub mode: String,
    /// Names of its tools in the list of everything.
    pub tools: Vec<String>,
    /// Why tools of it are missing.
    pub problem: Option<String>,
    /// Methods that the setting names and that are no tools all the same.
    pub left_out: Vec<LeftOut>,
    /// What it was made of: the same makes the same.
    pub(super) source: Source,
    pub(super) parts: ViewParts,
    pub(super) view: OnceLock<Arc<CatalogView>>,
}

/// What the catalog's words about a service come from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) service: Arc<Service>,
    pub(super) built: Option<Arc<ServiceTools>>,
    /// Its tools under their names, in the order of `built`.
    pub(super) listed: Vec<Arc<MeshTool>>,
}

impl Source {
    pub(super) fn is(&self, other: &Self) -> bool {
        let built = match (&self.built, &other.built) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        let listed = self.listed.iter().zip(&other.listed);
        built
            && Arc::ptr_eq(&self.service, &other.service)
            && self.listed.len() == other.listed.len()
            && listed.into_iter().all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// The name of a tool among those of its service, and the tool under its name among all.
pub(super) type LocalTool = (String, Arc<MeshTool>);

/// What a service's own view is made of, when it is asked for.
#[derive(Debug, Default)]
pub(super) struct ViewParts {
    pub(super) tools: Vec<LocalTool>,
    pub(super) resources: Vec<Arc<MeshResource>>,
    pub(super) prompts: Vec<Arc<MeshPrompt>>,
    pub(super) versions: Versions,
    pub(super) mount: bool,
}

/// The versions of the snapshots in which lists changed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Changes when the list of tools does.
    pub tools: u64,
    /// Changes when the list of resources does; not with what they say.
    pub resources: u64,
    /// Changes when the list of prompts does.
    pub prompts: u64,
}

/// What one address shows: everything, or one service with its names unprefixed.
#[derive(Debug, Default)]
pub struct CatalogView {
    /// By name.
    pub tools: Vec<Arc<MeshTool>>,
    /// By URI.
    pub resources: Vec<Arc<MeshResource>>,
    /// By name.
    pub prompts: Vec<Arc<MeshPrompt>>,
    /// When its lists have changed.
    pub versions: Versions,
    /// Whether it is a mounted MCP server, which takes the messages of clients as they are.
    pub mount: bool,
}

/// A text about a service.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshResource {
    /// `agent://echo-agent`, or `mount://files/file:///notes.md`.
    pub uri: String,
    /// The public id of the service, or the name that a mount gives it.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What it does.
    pub description: String,
    /// `text/markdown`; empty where its mount says it.
    pub mime_type: &'static str,
    /// The text; `None` where its mount is asked for it.
    pub text: Option<Arc<str>>,
    /// Its entry in `resources/list`.
    pub json: Bytes,
    /// Consul name of the service.
    pub service: Arc<str>,
    /// Changes when the text does.
    pub version: u64,
}

/// A prompt that has an agent do something, or one of a mounted server.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshPrompt {
    /// The name of the agent's tool; of a mounted server's prompt a name that no other has.
    pub name: String,
    /// What its mounted server calls it.
    pub of_server: Option<Arc<str>>,
    /// The agent's name for people.
    pub title: String,
    /// What the agent does.
    pub description: String,
    /// What people use the agent for.
    pub use_cases: Vec<String>,
    /// Its entry in `prompts/list`.
    pub json: Bytes,
    /// Consul name of the agent, or of the mount.
    pub service: Arc<str>,
}

impl CatalogSnapshot {
    /// Everything.
    #[must_use]
    pub fn all(&self) -> &Arc<CatalogView> {
        &self.all
    }

    /// What one service shows, by its Consul name or its public id; `None` when there is none, or its setting
    /// `mcp` is `off`.
    #[must_use]
    pub fn service(&self, id: &str) -> Option<Arc<CatalogView>> {
        let service = match self.services.get(id) {
            Some(service) => service,
            None => self.services.get(self.ids.get(id)?)?,
        };
        (service.mode != "off").then(|| Arc::clone(service.view()))
    }

    /// Every service, by its Consul name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<CatalogService>> {
        self.services.values()
    }
}

impl CatalogService {
    fn view(&self) -> &Arc<CatalogView> {
        self.view.get_or_init(|| {
            let parts = &self.parts;
            let tools = parts.tools.iter();
            let mut tools: Vec<_> = tools.map(|(name, tool)| named(tool, name)).collect();
            tools.sort_by(|a, b| a.name.cmp(&b.name));
            let (mut resources, mut prompts) = (parts.resources.clone(), parts.prompts.clone());
            resources.sort_by(|a, b| a.uri.cmp(&b.uri));
            prompts.sort_by(|a, b| a.name.cmp(&b.name));
            Arc::new(CatalogView {
                tools,
                resources,
                prompts,
                versions: parts.versions,
                mount: parts.mount,
            })
        })
    }
}

impl CatalogView {
    /// The tool of this name.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&Arc<MeshTool>> {
        let at = self.tools.binary_search_by(|tool| (*tool.name).cmp(name));
        self.tools.get(at.ok()?)
    }

    /// The tools of mounted servers.
    pub fn mounted_tools(&self) -> impl Iterator<Item = &Arc<MeshTool>> {
        let is_mounted = |tool: &&Arc<MeshTool>| matches!(tool.target, ToolTarget::Mounted { .. });
        self.tools.iter().filter(is_mounted)
    }

    /// The resource with this URI.
    #[must_use]
    pub fn resource(&self, uri: &str) -> Option<&Arc<MeshResource>> {
        let by_uri = |resource: &Arc<MeshResource>| (*resource.uri).cmp(uri);
        self.resources
            .get(self.resources.binary_search_by(by_uri).ok()?)
    }

    /// The prompt of this name.
    #[must_use]
    pub fn prompt(&self, name: &str) -> Option<&Arc<MeshPrompt>> {
        let by_name = |prompt: &Arc<MeshPrompt>| (*prompt.name).cmp(name);
        self.prompts
            .get(self.prompts.binary_search_by(by_name).ok()?)
    }
}

/// The tool under another name.
pub(super) fn named(tool: &Arc<MeshTool>, name: &str) -> Arc<MeshTool> {
    match tool.name == name {
        true => Arc::clone(tool),
        false => Arc::new(tool.renamed(name)),
    }
}
