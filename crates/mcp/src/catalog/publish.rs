//! Puts what is known of the services together: names, lists, and which of them has changed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use super::{
    follow::Entry,
    mounts, prompts, resources,
    snapshot::{
        CatalogService, CatalogSnapshot, CatalogView, LocalTool, MeshPrompt, MeshResource, Source,
        Versions, ViewParts, named,
    },
};
use crate::{MeshTool, names::ToolNames};

/// Makes one snapshot after the other.
#[derive(Debug)]
pub(super) struct Publisher {
    max_name: usize,
    max_tools: usize,
    last: Arc<CatalogSnapshot>,
    /// Identity of a tool → as its service gave it, and as it is listed.
    listed: HashMap<String, (Arc<MeshTool>, Arc<MeshTool>)>,
}

impl Publisher {
    pub(super) fn new(max_name: usize, max_tools: usize) -> Self {
        Self {
            max_name,
            max_tools,
            last: Arc::default(),
            listed: HashMap::new(),
        }
    }

    /// The snapshot of these services; `None` when it says what the last one says.
    pub(super) fn publish(
        &mut self,
        entries: &BTreeMap<Arc<str>, Entry>,
        ready: bool,
    ) -> Option<Arc<CatalogSnapshot>> {
        let version = self.last.version + 1;
        let names = self.names(entries);
        let prompts = self.prompt_names(entries);
        let mut listed = HashMap::new();
        let (mut services, mut ids) = (BTreeMap::new(), HashMap::new());
        let mut all = CatalogView::default();
        for (name, entry) in entries {
            let mut problem = entry.built.as_ref().and_then(|built| built.problem.clone());
            let mut own = Vec::new();
            for tool in entry.built.iter().flat_map(|built| &built.tools) {
                let Some(wanted) = names.get(&tool.identity) else {
                    let text = format!("mcp_max_tools = {} is reached", self.max_tools);
                    problem = Some(text);
                    continue;
                };
                let known = self.listed.get(&tool.identity);
                let known = known.filter(|(given, named)| {
                    Arc::ptr_eq(given, &tool.tool) && named.name == *wanted
                });
                let named = match known {
                    Some((_, named)) => Arc::clone(named),
                    None => as_listed(&tool.tool, wanted),
                };
                let pair = (Arc::clone(&tool.tool), Arc::clone(&named));
                listed.insert(tool.identity.clone(), pair);
                own.push((tool.local.clone(), named));
            }
            all.tools
                .extend(own.iter().map(|(_, tool)| Arc::clone(tool)));
            let service = self.service(entry, own, problem, &prompts, version);
            all.resources
                .extend(service.parts.resources.iter().cloned());
            all.prompts.extend(service.parts.prompts.iter().cloned());
            ids.insert(service.public_id.clone(), Arc::clone(name));
            services.insert(Arc::clone(name), service);
        }
        self.listed = listed;
        all.tools.sort_by(|a, b| a.name.cmp(&b.name));
        all.resources.sort_by(|a, b| a.uri.cmp(&b.uri));
        all.prompts.sort_by(|a, b| a.name.cmp(&b.name));
        let last = &self.last.all;
        let same_lists = [
            same_by(&last.tools, &all.tools, is_same_tool),
            same_entries(&last.resources, &all.resources),
            same(&last.prompts, &all.prompts),
        ];
        all.versions = versions(last.versions, version, same_lists);
        let before = &self.last;
        let is_same = before.ready == ready
            && before.services.len() == services.len()
            && before
                .services
                .iter()
                .zip(&services)
                .all(|(a, b)| Arc::ptr_eq(a.1, b.1));
        if is_same && before.version > 0 {
            return None;
        }
        self.last = Arc::new(CatalogSnapshot {
            version,
            ready,
            all: Arc::new(all),
            services,
            ids,
        });
        Some(Arc::clone(&self.last))
    }

    /// The name of each tool by its identity. Of too many tools those of the last services have none.
    fn names(&self, entries: &BTreeMap<Arc<str>, Entry>) -> HashMap<String, String> {
        let tools = entries.values().filter_map(|entry| entry.built.as_ref());
        let tools = tools.flat_map(|built| &built.tools).take(self.max_tools);
        let wanted = tools.map(|it| (it.identity.as_str(), it.tool.name.as_str()));
        ToolNames::new(self.max_name).assign(wanted)
    }

    /// The name of each prompt of a mount by its identity.
    fn prompt_names(&self, entries: &BTreeMap<Arc<str>, Entry>) -> HashMap<String, String> {
        let mounts = entries.values().filter_map(|entry| {
            let built = entry.built.as_ref()?;
            (!built.prompts.is_empty()).then_some((&entry.service, built))
        });
        let wanted: Vec<(String, String)> = mounts
            .flat_map(|(service, built)| {
                let names = built.prompts.iter().filter_map(mounts::prompt_name);
                names.map(|name| {
                    (
                        prompt_identity(&service.name, name),
                        format!("{}__{name}", service.public_id),
                    )
                })
            })
            .collect();
        let wanted = wanted.iter().map(|(id, name)| (id.as_str(), name.as_str()));
        ToolNames::new(self.max_name).assign(wanted)
    }

    /// The service, which stays the same `Arc` while nothing of it changes.
    fn service(
        &self,
        entry: &Entry,
        own: Vec<LocalTool>,
        problem: Option<String>,
        prompt_names: &HashMap<String, String>,
        version: u64,
    ) -> Arc<CatalogService> {
        let before = self.last.services.get(&entry.service.name);
        let source = Source {
            service: Arc::clone(&entry.service),
            built: entry.built.clone(),
            listed: own.iter().map(|(_, tool)| Arc::clone(tool)).collect(),
        };
        if let Some(before) = before
            && before.source.is(&source)
            && before.mode == entry.exposure.mode
            && before.problem == problem
            && before
                .parts
                .prompts
                .iter()
                .all(|it| is_named(it, prompt_names))
        {
            return Arc::clone(before);
        }
        let about = entry.built.as_ref().and_then(|built| built.about.as_ref());
        let known = before.map(|before| &before.parts);
        let text = about.and_then(|about| resources::of(&entry.service, about, version));
        let listed = entry.built.iter().flat_map(|built| &built.resources);
        let listed = listed.filter_map(|it| mounts::resource(it, &entry.service.name, version));
        let resources: Vec<Arc<MeshResource>> = text
            .into_iter()
            .chain(listed)
            .map(|resource| {
                let mut before = known.iter().flat_map(|known| &known.resources);
                match before.find(|before| before.uri == resource.uri) {
                    Some(known) if known.text == resource.text && known.json == resource.json => {
                        Arc::clone(known)
                    }
                    _ => Arc::new(resource),
                }
            })
            .collect();
        let whole = own
            .iter()
            .map(|(_, tool)| tool)
            .find(|tool| prompts::is_for(tool));
        let listed = entry.built.iter().flat_map(|built| &built.prompts);
        let of_mount = listed.filter_map(|it| {
            let identity = prompt_identity(&entry.service.name, mounts::prompt_name(it)?);
            mounts::prompt(it, &entry.service.name, prompt_names.get(&identity)?)
        });
        let prompts: Vec<Arc<MeshPrompt>> = about
            .zip(whole)
            .map(|(about, tool)| prompts::of(about, tool))
            .into_iter()
            .chain(of_mount)
            .map(|prompt| {
                let mut before = known.iter().flat_map(|known| &known.prompts);
                match before.find(|before| ***before == prompt) {
                    Some(known) => Arc::clone(known),
                    None => Arc::new(prompt),
                }
            })
            .collect();
        let local = local_names(own, self.max_name);
        let is_same_local = |a: &LocalTool, b: &LocalTool| a.0 == b.0 && is_same_tool(&a.1, &b.1);
        let same_lists = known.map_or([false; 3], |known| {
            [
                same_by(&known.tools, &local, is_same_local),
                same_entries(&known.resources, &resources),
                same(&known.prompts, &prompts),
            ]
        });
        let last = known.map(|known| known.versions).unwrap_or_default();
        let versions = versions(last, version, same_lists);
        let built = entry.built.as_ref();
        let service = CatalogService {
            name: Arc::clone(&entry.service.name),
            public_id: entry.service.public_id.clone(),
            kind: entry.service.kind,
            mode: entry.exposure.mode.clone(),
            tools: local.iter().map(|(_, tool)| tool.name.clone()).collect(),
            problem,
            left_out: built.map_or_else(Vec::new, |built| built.left_out.clone()),
            source,
            parts: ViewParts {
                tools: local,
                resources,
                prompts,
                versions,
                mount: entry.is_mount(),
            },
            view: OnceLock::new(),
        };
        match before {
            Some(before) if is_same(before, &service) => Arc::clone(before),
            _ => Arc::new(service),
        }
    }
}

/// Whether a prompt has the name that it is to have.
fn is_named(prompt: &MeshPrompt, names: &HashMap<String, String>) -> bool {
    prompt.of_server.as_ref().is_none_or(|of_server| {
        names.get(&prompt_identity(&prompt.service, of_server)) == Some(&prompt.name)
    })
}

/// What no other prompt has.
fn prompt_identity(service: &str, name: &str) -> String {
    format!("{service}#{name}")
}

/// A tool under the name that it has among all.
fn as_listed(tool: &Arc<MeshTool>, name: &str) -> Arc<MeshTool> {
    let named = named(tool, name);
    if *named.global_name == *name {
        return named;
    }
    Arc::new(MeshTool {
        global_name: name.into(),
        ..(*named).clone()
    })
}

/// The names of a service's tools among themselves.
fn local_names(own: Vec<LocalTool>, max_name: usize) -> Vec<LocalTool> {
    let wanted = own
        .iter()
        .map(|(local, tool)| (&*tool.global_name, local.as_str()));
    let names = ToolNames::new(max_name).assign(wanted);
    let mut named: Vec<_> = own
        .into_iter()
        .map(|(local, tool)| {
            let name = names.get(&*tool.global_name).cloned();
            (name.unwrap_or(local), tool)
        })
        .collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

fn is_same(before: &CatalogService, now: &CatalogService) -> bool {
    let same_tool = |a: &LocalTool, b: &LocalTool| a.0 == b.0 && Arc::ptr_eq(&a.1, &b.1);
    same_by(&before.parts.tools, &now.parts.tools, same_tool)
        && before.public_id == now.public_id
        && before.kind == now.kind
        && before.mode == now.mode
        && before.problem == now.problem
        && before.left_out == now.left_out
        && before.parts.mount == now.parts.mount
        && before.parts.versions == now.parts.versions
        // Their texts may have changed although the lists have not.
        && same(&before.parts.resources, &now.parts.resources)
}

/// The versions of tools, resources and prompts: of a list that is the same the last one, else this one.
fn versions(last: Versions, version: u64, is_same: [bool; 3]) -> Versions {
    let of = |is_same: bool, last: u64| if is_same { last } else { version };
    Versions {
        tools: of(is_same[0], last.tools),
        resources: of(is_same[1], last.resources),
        prompts: of(is_same[2], last.prompts),
    }
}

/// Whether clients see the same tool. How it is called may differ: a new build of its service may have other
/// descriptors with the same schema.
fn is_same_tool(a: &Arc<MeshTool>, b: &Arc<MeshTool>) -> bool {
    Arc::ptr_eq(a, b) || a.json == b.json
}

fn same_entries(before: &[Arc<MeshResource>], now: &[Arc<MeshResource>]) -> bool {
    same_by(before, now, |a, b| a.json == b.json)
}

fn same<T>(before: &[Arc<T>], now: &[Arc<T>]) -> bool {
    same_by(before, now, Arc::ptr_eq)
}

fn same_by<T>(before: &[T], now: &[T], is_same: impl Fn(&T, &T) -> bool) -> bool {
    before.len() == now.len() && before.iter().zip(now).all(|(a, b)| is_same(a, b))
}
