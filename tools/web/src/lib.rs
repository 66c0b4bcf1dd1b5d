//! The web tool: searches the web through a provider of the operator's choice. It is off until one
//! is configured, and sends requests to that one only: it does not fetch the pages that it finds.

mod answer;
mod provider;
mod tool;

use service::{Context, Key, Services, Spec};

pub use provider::{Error, Provider, SearchOptions};

/// The names, tags, port and keys of the web tool.
pub const SPEC: Spec = Spec {
    program: "web-tool",
    service: "tool-web",
    tags: &["tool", "web", "search"],
    default_port: 50059,
    about: "The web tool: searches the web through a configured provider",
    idempotent: &["*"],
    keys: &[
        Key::text(
            "web_search_url",
            "",
            "address to search at, {query} in the query's place: SearXNG or Brave; off without it",
        ),
        Key::text("web_search_key", "", "key of the provider's API").secret(),
        Key::text(
            "web_search_key_header",
            "X-Subscription-Token",
            "header that carries web_search_key",
        ),
        Key::duration("web_search_timeout", "10s", "longest wait for the provider"),
        Key::size(
            "web_search_max_bytes",
            "1MiB",
            "largest answer of the provider that is read",
        ),
        Key::bool(
            "allow_external_requests",
            "no",
            "whether anything may be asked over the internet",
        ),
        Key::list(
            "external_allow_hosts",
            "",
            "hosts that may be asked although their addresses are inside, as host or host:port",
        ),
    ],
    ..agentkit::TOOL
};

/// Builds the service of one instance.
///
/// # Errors
/// When the configured provider is not valid.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let config = &context.config;
    let provider = match config.optional("web_search_url") {
        None => Err("web_search_url"),
        Some(_) if !config.bool("allow_external_requests") => Err("allow_external_requests"),
        Some(url) => Ok(Provider::new(&SearchOptions {
            url: url.to_owned(),
            key: config.optional("web_search_key").map(str::to_owned),
            key_header: config.text("web_search_key_header").to_owned(),
            timeout: config.duration("web_search_timeout"),
            max_bytes: config.size("web_search_max_bytes"),
            inside: config.list("external_allow_hosts"),
        })?),
    };
    Ok(agentkit::serve_tool(
        context,
        tool::ABOUT,
        tool::Web(provider),
    ))
}
