//! The provider: one address that is asked for every query.

use agentkit::{ApiError, JsonApi, sources::WebHit};
use config::Secret;
use fetch::{EgressPolicy, Request};
use http::{HeaderName, HeaderValue};
use url::{Url, form_urlencoded::byte_serialize};

use crate::{SearchKeys, answer::Answer};

/// The placeholder of the query in an address. Without it the query becomes the parameter `q`.
const PLACE: &str = "{query}";

/// Why there is no provider: a configuration key has a value that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key} {problem}")]
pub(crate) struct InvalidKey {
    key: &'static str,
    problem: String,
}

/// Searches at one address.
#[derive(Debug)]
pub(crate) struct Provider {
    api: JsonApi,
    url: String,
    host: String,
    key: Option<(HeaderName, HeaderValue)>,
}

impl Provider {
    /// The provider at `url`, which is asked though its host is inside if `inside` names it. Nothing is
    /// sent yet.
    pub(crate) fn new(url: &str, keys: &SearchKeys, inside: &[String]) -> Result<Self, InvalidKey> {
        let bad = |key, problem: &str| InvalidKey {
            key,
            problem: problem.to_owned(),
        };
        let bad_url = || {
            let form = "is no address: give one such as https://search.example/search?q={query}&format=json";
            bad("web_search_url", form)
        };
        let sample = address(url, "x").ok_or_else(bad_url)?;
        let host = sample.host_str().ok_or_else(bad_url)?.to_owned();
        // A query within the host would let the caller choose the host.
        if address(url, "y").is_none_or(|other| other.origin() != sample.origin()) {
            let problem = "has {query} in its host: move it to the query";
            return Err(bad("web_search_url", problem));
        }
        let header = |key: &Secret| {
            let name = keys.web_search_key_header.parse::<HeaderName>();
            let name = name.map_err(|_| bad("web_search_key_header", "is no header's name"))?;
            let value = HeaderValue::from_str(key.expose());
            let mut value = value.map_err(|_| bad("web_search_key", "cannot be a header"))?;
            value.set_sensitive(true);
            Ok((name, value))
        };
        let policy = EgressPolicy::new(true, inside);
        let (timeout, limit) = (keys.web_search_timeout, keys.web_search_max_bytes);
        let api = JsonApi::new(policy, timeout, limit, Some("web_search_max_bytes"))
            .map_err(|error| bad("web_search_url", &error.to_string()))?;
        Ok(Self {
            api,
            url: url.to_owned(),
            host,
            key: keys.web_search_key.as_ref().map(header).transpose()?,
        })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// At most `limit` pages for a query.
    pub(crate) async fn search(&self, query: &str, limit: usize) -> Result<Vec<WebHit>, ApiError> {
        let fail = |problem| ApiError::new(&self.host, problem);
        let url = address(&self.url, query).ok_or_else(|| fail("no such address"))?;
        let mut request = Request::get(url);
        if let Some((name, value)) = &self.key {
            request.headers.insert(name, value.clone());
        }
        let answer: Answer = self.api.send(request).await?;
        let hits = answer.hits(limit);
        hits.ok_or_else(|| fail("the answer has neither results nor web.results"))
    }
}

fn address(template: &str, query: &str) -> Option<Url> {
    let mut url = if template.contains(PLACE) {
        let query: String = byte_serialize(query.as_bytes()).collect();
        // A plus is a space in forms only.
        let query = query.replace('+', "%20");
        template.replace(PLACE, &query).parse::<Url>().ok()?
    } else {
        let mut url = template.parse::<Url>().ok()?;
        url.query_pairs_mut().append_pair("q", query);
        url
    };
    url.set_fragment(None);
    matches!(url.scheme(), "http" | "https").then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_escaped_into_its_place() {
        let text = |template, query| address(template, query).map(|url| url.to_string());
        assert_eq!(
            text("http://s/search?q={query}&format=json", "a b&c=ü#/").unwrap(),
            "http://s/search?q=a%20b%26c%3D%C3%BC%23%2F&format=json"
        );
        assert_eq!(
            text("http://s/search?format=json", "a&b").unwrap(),
            "http://s/search?format=json&q=a%26b"
        );
        assert_eq!(text("file:///etc/{query}", "a"), None);
    }

    #[test]
    fn settings_that_will_not_do_name_their_key() {
        let provider = |url: &str, key: &str, header: &str| {
            let keys = SearchKeys {
                web_search_key: key.parse().ok(),
                web_search_key_header: header.to_owned(),
                ..SearchKeys::default()
            };
            Provider::new(url, &keys, &[])
        };
        for (provider, key) in [
            (provider("nowhere", "k", "h"), "web_search_url "),
            (
                provider("http://{query}.example/", "k", "h"),
                "web_search_url ",
            ),
            (provider("http://s/", "a\nb", "h"), "web_search_key "),
            (provider("http://s/", "k", "h h"), "web_search_key_header "),
        ] {
            let error = provider.unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
        assert_eq!(provider("http://s/", "k", "h").unwrap().host(), "s");
    }
}
