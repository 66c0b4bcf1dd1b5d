//! Which part of the mesh a request is about: its path and its query.

use std::sync::Arc;

use http::Uri;

use super::keys::Listing;

/// Everything, or one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Public id or Consul name.
    pub(crate) service: Option<Arc<str>>,
    /// What `tools/list` shows, where the URL says (`?listing=search`).
    pub(crate) listing: Option<Listing>,
}

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/mcp` and `/mcp/{service}`.
    Mcp(Scope),
    /// `/sse` and `/sse/{service}`: a stream of 2024-11-05.
    Sse(Scope),
    /// `/messages`: what belongs to such a stream.
    Messages,
    /// `/.well-known/oauth-protected-resource`, with or without a path behind it.
    Metadata,
}

impl Route {
    /// The label of metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Mcp(Scope { service: None, .. }) => "/mcp",
            Self::Mcp(_) => "/mcp/{service}",
            Self::Sse(_) => "/sse",
            Self::Messages => "/messages",
            Self::Metadata => super::auth::METADATA,
        }
    }

    /// What a path is; `None` where it is not about MCP.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let path = uri.path();
        if let Some(rest) = path.strip_prefix("/mcp") {
            return Some(Self::Mcp(scope(uri, rest)?));
        }
        if let Some(rest) = path.strip_prefix("/sse") {
            return Some(Self::Sse(scope(uri, rest)?));
        }
        if path == "/messages" {
            return Some(Self::Messages);
        }
        let rest = path.strip_prefix(super::auth::METADATA)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(Self::Metadata)
    }
}

/// The scope of what comes behind `/mcp`.
fn scope(uri: &Uri, rest: &str) -> Option<Scope> {
    let service = match rest {
        "" | "/" => None,
        rest => {
            let name = rest.strip_prefix('/')?;
            // Names of services need no escapes.
            (!name.contains('/')).then(|| Some(name.into()))?
        }
    };
    let listing = match query(uri, "listing") {
        Some("search") => Some(Listing::Search),
        Some("all") => Some(Listing::All),
        _ => None,
    };
    Some(Scope { service, listing })
}

/// A parameter of the query, as it stands there.
pub(crate) fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let pairs = uri.query()?.split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_everything_or_one_service() {
        let of = |path: &str| Route::of(&path.parse().unwrap());
        let service = |name: &str| Scope {
            service: Some(name.into()),
            listing: None,
        };
        assert_eq!(of("/mcp"), Some(Route::Mcp(Scope::default())));
        assert_eq!(of("/mcp/"), Some(Route::Mcp(Scope::default())));
        assert_eq!(of("/mcp/tool-fs"), Some(Route::Mcp(service("tool-fs"))));
        assert_eq!(of("/sse/tool-fs"), Some(Route::Sse(service("tool-fs"))));
        assert_eq!(of("/messages?session_id=x"), Some(Route::Messages));
        assert_eq!(
            of("/.well-known/oauth-protected-resource/mcp"),
            Some(Route::Metadata)
        );
        for other in [
            "/",
            "/mcpx",
            "/mcp/a/b",
            "/api/v1/mcp/services",
            "/messages/x",
            "/.well-known/x",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        let searching = Scope {
            service: None,
            listing: Some(Listing::Search),
        };
        assert_eq!(of("/mcp?a=b&listing=search"), Some(Route::Mcp(searching)));
    }
}
