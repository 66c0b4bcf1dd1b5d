//! The web tool: searches the web through the provider that the operator configures. It sends requests to
//! no other host, and does not fetch the pages that it finds.

mod answer;
mod provider;
mod tool;

use std::time::Duration;

use config::{Secret, duration, keys, optional, secret, size, text};
use fetch::{ExternalHostKeys, ExternalKeys};
use provider::Provider;
use service::{Context, Services, Spec};

/// The names, tags, port and keys of the web tool.
pub const SPEC: Spec = Spec {
    program: "web-tool",
    service: "tool-web",
    tags: &["tool", "web", "search"],
    default_port: 50059,
    about: "The web tool: searches the web through a configured provider",
    idempotent: &["*"],
    keys: &[
        service::GRPC,
        &[
            SearchKeys::GROUP,
            ExternalKeys::GROUP,
            ExternalHostKeys::GROUP,
        ],
    ],
    ..agentkit::TOOL
};

keys! {
    /// The web tool.
    #[derive(Clone, Debug)]
    pub(crate) struct SearchKeys: "Web tool" {
        /// Address to search at, with {query} in the query's place: SearXNG or Brave. Empty: no search.
        web_search_url: Option<String> = optional(),
        /// The key of the provider's API.
        web_search_key: Option<Secret> = secret(),
        /// Header that carries `web_search_key`.
        web_search_key_header: String = text("X-Subscription-Token"),
        /// Longest time for one request to the provider.
        web_search_timeout: Duration = duration("10s").zero("every search fails"),
        /// Largest answer of the provider that is read.
        web_search_max_bytes: usize = size("1MiB").zero("none is read"),
    }
}

/// Builds the service of one instance.
///
/// # Errors
/// When the configured provider is not valid.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let (config, keys) = (&context.config, SearchKeys::from_config(&context.config));
    let external = ExternalKeys::from_config(config).allow_external_requests;
    let provider = match &keys.web_search_url {
        None => Err("web_search_url"),
        Some(_) if !external => Err("allow_external_requests"),
        Some(url) => {
            let inside = ExternalHostKeys::from_config(config).external_allow_hosts;
            Ok(Provider::new(url, &keys, &inside)?)
        }
    };
    let tool = tool::Web(provider);
    Ok(agentkit::serve_tool(context, tool::ABOUT, tool))
}
