//! The operations of the web tool.

use agentkit::{
    About, Invocation, InvocationError, Operation, Parameter, Tool, sources::WebSearchResults,
};
use proto::error_info::{self, Reason};
use tonic::Code;

use crate::provider::Provider;

const MAX_RESULTS: usize = 20;
/// Longest query, bytes.
const MAX_QUERY: usize = 1024;

pub(crate) const ABOUT: About = About {
    name: "Web Tool",
    description: "Searches the web through a provider of the operator's choice",
    how_it_works: "Asks the provider that web_search_url names, SearXNG or Brave, and no other host. \
        It follows no redirects and fetches no pages. Without a provider every search is answered \
        with PERMISSION_DENIED and the key that turns it on.",
    return_format: "result is a JSON object: query, provider (its host), results, each of title, \
        url, snippet",
    use_cases: &[
        "Find pages about a question beside the local documents",
        "Give an agent sources that can be opened",
    ],
    operations: &[
        Operation::new("web_search", "pages for a query, in the provider's order")
            .taking(&[
                Parameter::required("query", "string", "what to look for, at most 1024 bytes"),
                Parameter::optional("limit", "integer", "most results, 1 to 20 (default 5)"),
            ])
            .read_only()
            .answering(WebSearchResults::SCHEMA),
    ],
    ..About::EMPTY
};

/// The tool over a provider, or the key that is missing for one.
#[derive(Debug)]
pub(crate) struct Web(pub(crate) Result<Provider, &'static str>);

#[async_trait::async_trait]
impl Tool for Web {
    async fn run(&self, call: Invocation) -> Result<String, InvocationError> {
        if call.operation != "web_search" {
            return Err(call.unknown_operation(&ABOUT));
        }
        let provider = self.0.as_ref().map_err(|key| off(key))?;
        let query = call
            .parameters
            .text("query", "what to look for", MAX_QUERY)?;
        let limit = call.parameters.integer("limit", 1..=MAX_RESULTS, 5)?;
        let results = provider.search(query, limit).await;
        let found = WebSearchResults {
            query: query.to_owned(),
            provider: provider.host().to_owned(),
            results: results.map_err(|error| InvocationError::Rejected(error.to_string()))?,
        };
        Ok(serde_json::to_string(&found)?)
    }
}

fn off(key: &str) -> InvocationError {
    let message = match key {
        "web_search_url" => {
            "web search is off: set web_search_url (WEB_SEARCH_URL) to a provider's address, and \
             ALLOW_EXTERNAL_REQUESTS=yes"
        }
        _ => "web search is off: set ALLOW_EXTERNAL_REQUESTS=yes, so that web_search_url is asked",
    };
    let facts = [("key", key.to_owned())];
    error_info::status(Code::PermissionDenied, Reason::SwitchedOff, message, facts).into()
}
