//! Lists as clients page through them. A page is the same bytes for everybody who sees everything, so it
//! is written once for each change.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use mcp::{CatalogView, MeshTool, ToolTarget, rpc::RpcError};
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    auth::Grant,
    headers::{self, ParamHeader},
    keys::{Listing, McpKeys},
};

/// Views of which pages are kept. More there are not, unless services come and go.
const MAX_VIEWS: usize = 1024;

/// What a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Tools,
    Resources,
    Templates,
    Prompts,
}

/// Which list a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PageKey {
    kind: Kind,
    listing: bool,
    is_modern: bool,
    /// The first entry of the page.
    first: usize,
}

/// Writes pages, and keeps them while their view is the same.
#[derive(Debug)]
pub(crate) struct Lists {
    page: usize,
    ttl_ms: u64,
    always: Vec<String>,
    listing: Listing,
    /// Tools of the gateway itself, for every view of everything.
    builtins: Vec<Arc<MeshTool>>,
    templates: Vec<(String, Bytes)>,
    /// By the address of the view, which it keeps alive.
    kept: Mutex<HashMap<usize, Arc<Kept>>>,
}

/// What is kept of a view.
#[derive(Debug)]
struct Kept {
    view: Arc<CatalogView>,
    pages: Mutex<HashMap<PageKey, Bytes>>,
    /// The tools whose arguments headers repeat.
    params: HashMap<String, Vec<ParamHeader>>,
}

/// What a client asks of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) kind: Kind,
    /// `?listing=search`, where the request says.
    pub(crate) listing: Option<Listing>,
    pub(crate) is_modern: bool,
    pub(crate) cursor: Option<&'a str>,
    pub(crate) grant: Option<&'a Grant>,
}

impl Lists {
    pub(crate) fn new(keys: &McpKeys, builtins: Vec<Arc<MeshTool>>, templates: &[Value]) -> Self {
        // Templates are few, and stay in their order.
        let numbered = templates.iter().enumerate();
        Self {
            page: keys.mcp_page,
            ttl_ms: u64::try_from(keys.mcp_list_ttl.as_millis()).unwrap_or(u64::MAX),
            always: keys.mcp_always.clone(),
            listing: keys.mcp_listing,
            builtins,
            templates: numbered
                .map(|(at, entry)| (format!("{at:04}"), entry.to_string().into()))
                .collect(),
            kept: Mutex::default(),
        }
    }

    /// A tool of the gateway itself.
    pub(crate) fn builtin(&self, name: &str) -> Option<&Arc<MeshTool>> {
        self.builtins.iter().find(|tool| tool.name == name)
    }

    /// The parameters of a tool that headers repeat.
    pub(crate) fn param_headers(&self, view: &Arc<CatalogView>, tool: &str) -> Vec<ParamHeader> {
        let kept = self.kept(view);
        kept.params.get(tool).cloned().unwrap_or_default()
    }

    /// A page as the result of its request.
    ///
    /// # Errors
    /// When the cursor is none of ours.
    pub(crate) fn page(
        &self,
        view: &Arc<CatalogView>,
        wanted: &Wanted<'_>,
    ) -> Result<Bytes, RpcError> {
        let after = wanted.cursor.map(decode).transpose()?;
        let filter = wanted.grant.filter(|grant| grant.filters());
        let listing = wanted.listing.unwrap_or(self.listing) == Listing::Search;
        let listing = listing && wanted.kind == Kind::Tools;
        if let Some(grant) = filter {
            let entries = self.entries(view, wanted.kind, listing, Some(grant));
            let first = position(&entries, after.as_deref());
            return Ok(self.write(&entries, first, wanted, true));
        }
        if after.is_none() {
            let key = PageKey {
                kind: wanted.kind,
                listing,
                is_modern: wanted.is_modern,
                first: 0,
            };
            let kept = self.kept(view);
            if let Some(page) = kept.pages.lock().get(&key) {
                return Ok(page.clone());
            }
        }
        let entries = self.entries(view, wanted.kind, listing, None);
        let first = position(&entries, after.as_deref());
        let key = PageKey {
            kind: wanted.kind,
            listing,
            is_modern: wanted.is_modern,
            first,
        };
        let kept = self.kept(view);
        if let Some(page) = kept.pages.lock().get(&key) {
            return Ok(page.clone());
        }
        let page = self.write(&entries, first, wanted, wanted.grant.is_some());
        // Only pages that begin where pages begin, so that cursors cannot fill the memory.
        if first.is_multiple_of(self.page) {
            kept.pages.lock().insert(key, page.clone());
        }
        Ok(page)
    }

    /// What is kept of a view. What is kept of views that are no longer shown goes.
    fn kept(&self, view: &Arc<CatalogView>) -> Arc<Kept> {
        let key = Arc::as_ptr(view).addr();
        let mut kept = self.kept.lock();
        if let Some(kept) = kept.get(&key) {
            return Arc::clone(kept);
        }
        kept.retain(|_, old| Arc::strong_count(&old.view) > 1);
        if kept.len() >= MAX_VIEWS {
            kept.clear();
        }
        let new = Arc::new(Kept {
            view: Arc::clone(view),
            pages: Mutex::default(),
            params: marked(&view.tools),
        });
        kept.insert(key, Arc::clone(&new));
        new
    }

    /// The entries that a client sees, by name.
    fn entries(
        &self,
        view: &CatalogView,
        kind: Kind,
        searches: bool,
        grant: Option<&Grant>,
    ) -> Vec<(String, Bytes)> {
        let sees = |service: &str| grant.is_none_or(|grant| grant.sees_service(service, service));
        match kind {
            Kind::Tools => {
                let shown = view.tools.iter().filter(|tool| {
                    grant.is_none_or(|grant| grant.sees(tool))
                        && (!searches || self.always.contains(&tool.name))
                });
                // A mounted server answers for itself.
                let own = self
                    .builtins
                    .iter()
                    .filter(|tool| !view.mount && searches == is_search(tool));
                let mut entries: Vec<_> = own
                    .chain(shown)
                    .map(|tool| (tool.name.clone(), tool.json.clone()))
                    .collect();
                entries.sort_by(|one, other| one.0.cmp(&other.0));
                entries
            }
            Kind::Resources => {
                let shown = view.resources.iter().filter(|it| sees(&it.service));
                shown
                    .map(|it| (it.uri.to_string(), it.json.clone()))
                    .collect()
            }
            Kind::Templates => self.templates.clone(),
            Kind::Prompts => {
                let shown = view.prompts.iter().filter(|it| sees(&it.service));
                shown
                    .map(|it| (it.name.to_string(), it.json.clone()))
                    .collect()
            }
        }
    }

    fn write(
        &self,
        entries: &[(String, Bytes)],
        first: usize,
        wanted: &Wanted<'_>,
        is_private: bool,
    ) -> Bytes {
        let rest = entries.get(first..).unwrap_or_default();
        let page = rest.get(..self.page).unwrap_or(rest);
        let size: usize = page.iter().map(|(_, entry)| entry.len() + 1).sum();
        let mut text = Vec::with_capacity(size + 200);
        text.extend_from_slice(b"{\"");
        text.extend_from_slice(wanted.kind.member().as_bytes());
        text.extend_from_slice(b"\":[");
        for (at, (_, entry)) in page.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            text.extend_from_slice(entry);
        }
        text.push(b']');
        if page.len() < rest.len()
            && let Some((last, _)) = page.last()
        {
            text.extend_from_slice(b",\"nextCursor\":\"");
            text.extend_from_slice(URL_SAFE_NO_PAD.encode(last).as_bytes());
            text.push(b'"');
        }
        let scope = if is_private { "private" } else { "public" };
        let hints = format!(",\"ttlMs\":{},\"cacheScope\":\"{scope}\"", self.ttl_ms);
        text.extend_from_slice(hints.as_bytes());
        if wanted.is_modern {
            text.extend_from_slice(b",\"resultType\":\"complete\"");
        }
        text.push(b'}');
        text.into()
    }
}

impl Kind {
    const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Prompts => "prompts",
        }
    }
}

/// Whether it is one of the two that search stands for.
fn is_search(tool: &MeshTool) -> bool {
    use mcp::Builtin::{CallTool, SearchTools};
    matches!(tool.target, ToolTarget::Builtin(SearchTools | CallTool))
}

/// The tools whose schemas mark arguments for headers.
fn marked(tools: &[Arc<MeshTool>]) -> HashMap<String, Vec<ParamHeader>> {
    let marked = tools.iter().filter_map(|tool| {
        let text = std::str::from_utf8(&tool.json).ok()?;
        let params = text
            .contains("\"x-mcp-header\"")
            .then(|| headers::param_headers(&tool.input_schema()))?;
        (!params.is_empty()).then(|| (tool.name.clone(), params))
    });
    marked.collect()
}

/// The first entry behind a name. The name need not be there any more.
fn position(entries: &[(String, Bytes)], after: Option<&str>) -> usize {
    after.map_or(0, |after| {
        entries.partition_point(|(name, _)| name.as_str() <= after)
    })
}

fn decode(cursor: &str) -> Result<String, RpcError> {
    let name = URL_SAFE_NO_PAD.decode(cursor).ok().map(String::from_utf8);
    match name {
        Some(Ok(name)) if name.len() <= 4096 => Ok(name),
        _ => Err(RpcError::params(
            "the cursor is not valid: begin without one",
        )),
    }
}
