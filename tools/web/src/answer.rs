//! The fields of providers' answers that the tool reads.
//!
//! SearXNG: <https://docs.searxng.org/dev/search_api.html>; Brave:
//! <https://api-dashboard.search.brave.com/app/documentation/web-search/responses>.

use agentkit::{
    sources::WebHit,
    text::{one_line, truncate},
};
use serde::Deserialize;

/// Longest title and snippet, characters.
const MAX_TITLE: usize = 200;
const MAX_SNIPPET: usize = 1000;

/// An answer of either form.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    /// SearXNG's.
    results: Option<Vec<Page>>,
    /// Brave's.
    web: Option<Web>,
}

#[derive(Debug, Deserialize)]
struct Web {
    #[serde(default)]
    results: Vec<Page>,
}

#[derive(Debug, Deserialize)]
struct Page {
    url: String,
    #[serde(default)]
    title: String,
    /// SearXNG's text.
    content: Option<String>,
    /// Brave's, with `<strong>` around what matches.
    description: Option<String>,
}

impl Answer {
    /// The pages in the provider's order; `None` for an answer without a list of them.
    pub(crate) fn hits(self, limit: usize) -> Option<Vec<WebHit>> {
        let pages = self.results.or(self.web.map(|web| web.results))?;
        let web = |page: &Page| page.url.starts_with("https://") || page.url.starts_with("http://");
        let hits = pages
            .into_iter()
            .filter(web)
            .take(limit)
            .map(|page| WebHit {
                title: line(&page.title, MAX_TITLE),
                snippet: line(
                    &page.content.or(page.description).unwrap_or_default(),
                    MAX_SNIPPET,
                ),
                url: page.url,
            });
        Some(hits.collect())
    }
}

/// A text of a page as one line without markup.
fn line(text: &str, most: usize) -> String {
    let plain = text.replace("<strong>", "").replace("</strong>", "");
    truncate(&one_line(&plain), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(text: &str) -> Option<Vec<WebHit>> {
        serde_json::from_str::<Answer>(text).unwrap().hits(2)
    }

    #[test]
    fn answers_of_both_forms_are_read() {
        let searxng = r#"{"query":"q","results":[{"url":"https://a.example/","title":"A",
            "content":"one\n two","engine":"x"},{"url":"javascript:alert(1)","title":"B"}]}"#;
        let brave = r#"{"web":{"results":[{"url":"https://a.example/","title":"A",
            "description":"<strong>one</strong> two"}]}}"#;
        for text in [searxng, brave] {
            let found = hits(text).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!((&*found[0].title, &*found[0].snippet), ("A", "one two"));
        }
        assert_eq!(hits(r#"{"results":[]}"#).unwrap(), []);
        assert!(hits(r#"{"error":"no"}"#).is_none());
    }
}
