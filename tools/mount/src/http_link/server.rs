//! Where a server of HTTP is, and what each request to it carries.

use anyhow::{Context as _, bail};
use fetch::{EgressPolicy, FetchLimits, HttpClient};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::keys::MountKeys;

/// What an error about a URL shows.
const EXAMPLE: &str = "http://127.0.0.1:8000/mcp";

/// A server at a URL.
#[derive(Clone, Debug)]
pub(crate) struct HttpServer {
    pub(super) client: HttpClient,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
}

impl HttpServer {
    /// The server that the keys name. Its own host may be asked wherever it is, and no other.
    pub(crate) fn new(url: &str, keys: &MountKeys) -> anyhow::Result<Self> {
        let (url, headers) = Self::read(url, keys)?;
        let host = url.host_str().context("mount_url names no host")?;
        let port = url
            .port_or_known_default()
            .context("mount_url names no port")?;
        let policy = EgressPolicy::new(true, &[format!("{host}:{port}")]);
        let client = HttpClient::new(policy, FetchLimits::default())?;
        Ok(Self {
            client,
            url,
            headers,
        })
    }

    /// The URL, and the headers of each request.
    pub(crate) fn read(url: &str, keys: &MountKeys) -> anyhow::Result<(Url, HeaderMap)> {
        let url: Url = url.parse().map_err(|error| {
            anyhow::anyhow!("mount_url is no URL ({error}): give one such as {EXAMPLE}")
        })?;
        if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
            bail!("mount_url is not of http or https: give one such as {EXAMPLE}");
        }
        let secret = keys.mount_headers.as_ref();
        let lines = secret.map(|it| it.expose().to_owned()).unwrap_or_default();
        let mut headers = HeaderMap::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, value) = line
                .split_once(':')
                .context("mount_headers: write each as `name: value`")?;
            // What is wrong is not shown: it may be a secret.
            let name = HeaderName::try_from(name.trim())
                .context("mount_headers: a line begins with no name of a header")?;
            let mut value = HeaderValue::try_from(value.trim())
                .context("mount_headers: a value has what a header cannot carry")?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok((url, headers))
    }
}
