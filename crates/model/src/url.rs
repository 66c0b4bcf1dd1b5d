//! The address of an endpoint's chat completions.

use reqwest::Url;

/// The address of chat completions for a base URL: of an API with a version (`/v1`,
/// `/v1beta/openai`), of one without, of a deployment at Azure, or of the completions themselves.
/// A query, such as Azure's `api-version`, stays.
pub(crate) fn endpoint(base: &str) -> Option<Url> {
    let mut url = base.trim().parse::<Url>().ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let mut parts = path.rsplit('/');
    let (last, before) = (parts.next().unwrap_or_default(), parts.next());
    let is_version = last.strip_prefix('v').is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit()) && rest.chars().all(char::is_alphanumeric)
    });
    let rest = match last {
        "completions" if before == Some("chat") => "",
        // Gemini's stands beneath a version too.
        _ if is_version => "/chat/completions",
        "openai" if before.is_some_and(|before| before.starts_with('v')) => "/chat/completions",
        _ if before == Some("deployments") => "/chat/completions",
        _ => "/v1/chat/completions",
    };
    url.set_path(&format!("{path}{rest}"));
    Some(url)
}

/// Whether an endpoint takes its key in Azure's own header.
pub(crate) fn is_azure(url: &Url) -> bool {
    let domains = [".azure.com", ".azure.us", ".azure.cn"];
    let host = url.host_str().unwrap_or_default();
    domains.iter().any(|domain| host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_url_is_taken_in_its_forms() {
        let table = [
            ("http://m", "http://m/v1/chat/completions"),
            ("http://m/", "http://m/v1/chat/completions"),
            ("http://m/v1/", "http://m/v1/chat/completions"),
            (
                "http://m/v1/chat/completions",
                "http://m/v1/chat/completions",
            ),
            ("http://m/api", "http://m/api/v1/chat/completions"),
            ("http://m/openai/v1", "http://m/openai/v1/chat/completions"),
            (
                "https://g/v1beta/openai/",
                "https://g/v1beta/openai/chat/completions",
            ),
            (
                "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
                "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
            ),
        ];
        for (base, expected) in table {
            assert_eq!(endpoint(base).unwrap().as_str(), expected);
        }
        for bad in ["localhost:11434", "", "ftp://m", "m"] {
            assert!(endpoint(bad).is_none(), "{bad}");
        }
        assert!(is_azure(&"https://x.openai.azure.com".parse().unwrap()));
        assert!(!is_azure(&"https://azure.com.example.org".parse().unwrap()));
    }
}
