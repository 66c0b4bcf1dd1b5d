//! The provider: one address that is asked for every query.

use std::time::Duration;

use agentkit::{sources::WebHit, text::shorten};
use fetch::{EgressPolicy, FetchLimits, HttpClient, Request};
use http::{HeaderName, HeaderValue, header::ACCEPT};
use url::Url;

use crate::answer::Answer;

const PLACE: &str = "{query}";

/// How a provider is asked.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// Its address; `{query}` stands for the query, else it becomes the parameter `q`.
    pub url: String,
    /// The key of its API, if it needs one.
    pub key: Option<String>,
    /// The header of the key.
    pub key_header: String,
    /// Longest wait.
    pub timeout: Duration,
    /// Largest answer, bytes.
    pub max_bytes: usize,
    /// Hosts within the network that may be asked.
    pub inside: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration key has a value that cannot be used.
    #[error("{key} {problem}")]
    InvalidConfig {
        /// The key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The provider fails; a retry may succeed.
    #[error("{host}: {problem}")]
    Upstream {
        /// Its host.
        host: String,
        /// What went wrong.
        problem: String,
    },
}

/// Searches at one address.
#[derive(Debug)]
pub struct Provider {
    client: HttpClient,
    url: String,
    host: String,
    key: Option<(HeaderName, HeaderValue)>,
}

impl Provider {
    /// Checks the options; nothing is sent.
    ///
    /// # Errors
    /// When the address is not valid, or the key cannot be a header.
    pub fn new(settings: &SearchOptions) -> Result<Self, Error> {
        let bad = |key, problem: &str| Error::InvalidConfig {
            key,
            problem: problem.to_owned(),
        };
        let bad_url = || {
            let form = "is no address: give one such as https://search.example/search?q={query}&format=json";
            bad("web_search_url", form)
        };
        let sample = address(&settings.url, "x").ok_or_else(bad_url)?;
        let host = sample.host_str().ok_or_else(bad_url)?.to_owned();
        // A query within the host would let the caller choose the host.
        let other = address(&settings.url, "y");
        if other.is_none_or(|other| other.origin() != sample.origin()) {
            return Err(bad(
                "web_search_url",
                "has {query} in its host: move it to the query",
            ));
        }
        let header = |key: &String| {
            let name = settings.key_header.parse::<HeaderName>();
            let name = name.map_err(|_| bad("web_search_key_header", "is no header's name"))?;
            let value = HeaderValue::from_str(key);
            let mut value = value.map_err(|_| bad("web_search_key", "cannot be a header"))?;
            value.set_sensitive(true);
            Ok((name, value))
        };
        // No redirects: the key goes to the configured host and no other.
        let limits = FetchLimits {
            time: settings.timeout,
            connect: settings.timeout,
            body: settings.max_bytes,
            redirects: 0,
            ..FetchLimits::default()
        };
        let client = HttpClient::new(EgressPolicy::new(true, &settings.inside), limits)
            .map_err(|error| bad("web_search_url", &error.to_string()))?;
        Ok(Self {
            client,
            url: settings.url.clone(),
            host,
            key: settings.key.as_ref().map(header).transpose()?,
        })
    }

    /// The host that is asked.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// At most `limit` pages for a query.
    ///
    /// # Errors
    /// When the provider fails.
    pub async fn search(&self, query: &str, limit: usize) -> Result<Vec<WebHit>, Error> {
        let fail = |problem: String| Error::Upstream {
            host: self.host.clone(),
            problem,
        };
        let url = address(&self.url, query).ok_or_else(|| fail("no such address".to_owned()))?;
        let mut request = Request::get(url);
        let json = HeaderValue::from_static("application/json");
        request.headers.insert(ACCEPT, json);
        if let Some((name, value)) = &self.key {
            request.headers.insert(name, value.clone());
        }
        let answer = self
            .client
            .send(request)
            .await
            .map_err(|error| match error {
                // Its own key, instead of the guard's.
                fetch::Error::TooLarge { limit } => fail(format!(
                    "the answer is over {limit} bytes (web_search_max_bytes)"
                )),
                fetch::Error::Redirects { .. } => {
                    fail("it redirects, which is not followed".to_owned())
                }
                other => fail(other.to_string()),
            })?;
        let (status, body) = (answer.status, answer.body);
        if !status.is_success() {
            let said = shorten(&String::from_utf8_lossy(&body));
            return Err(fail(format!("HTTP {status}: {said}")));
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|error| fail(format!("the answer is not JSON of a known form: {error}")))?;
        let hits = answer.hits(limit);
        hits.ok_or_else(|| fail("the answer has neither results nor web.results".to_owned()))
    }
}

/// The address for one query.
fn address(template: &str, query: &str) -> Option<Url> {
    let mut url = if template.contains(PLACE) {
        // Reserved bytes are percent-encoded.
        let query: String = query
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect();
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
        let settings = |url: &str, key: &str, header: &str| SearchOptions {
            url: url.to_owned(),
            key: Some(key.to_owned()),
            key_header: header.to_owned(),
            timeout: Duration::from_secs(1),
            max_bytes: 1,
            inside: Vec::new(),
        };
        for (settings, key) in [
            (settings("nowhere", "k", "h"), "web_search_url "),
            (
                settings("http://{query}.example/", "k", "h"),
                "web_search_url ",
            ),
            (settings("http://s/", "a\nb", "h"), "web_search_key "),
            (settings("http://s/", "k", "h h"), "web_search_key_header "),
        ] {
            let error = Provider::new(&settings).unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
        assert_eq!(
            Provider::new(&settings("http://s/", "k", "h"))
                .unwrap()
                .host(),
            "s"
        );
    }
}
