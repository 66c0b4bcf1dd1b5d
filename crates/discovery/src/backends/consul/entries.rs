//! What operators have written into Consul's KV store for the mesh.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use consulrs::{
    api::{Features, kv::common::KVPair},
    error::ClientError,
};
use reqwest::{Method, Response, StatusCode};

use super::{
    client::{Answer, Ask, Client, SLACK, segment},
    feed::Source,
    hold::Item,
};
use crate::{Entries, Error};

/// The whole prefix of the mesh.
#[derive(Debug)]
pub(super) struct Written;

impl Item for Arc<str> {
    /// A value is in the answer or it is not.
    fn serves(&self) -> bool {
        true
    }
}

impl Source for Written {
    type Key = Arc<str>;
    type Item = Arc<str>;
    type Value = Entries;

    fn what(&self) -> &str {
        "the settings in KV"
    }

    async fn ask(
        &self,
        client: &Client,
        ask: Ask,
    ) -> Result<Answer<BTreeMap<Arc<str>, Arc<str>>>, Error> {
        client.written(ask).await
    }

    fn value(&self, values: BTreeMap<Arc<str>, Arc<str>>) -> Entries {
        Entries { values }
    }
}

/// Asked without consulrs: a prefix without a key is answered with 404, and consulrs then loses the
/// index, which the next query needs.
impl Client {
    /// All entries.
    async fn written(&self, ask: Ask) -> Result<Answer<BTreeMap<Arc<str>, Arc<str>>>, Error> {
        let (features, limit) = self.features(ask);
        let path = format!("{}?recurse&{}", Entries::PREFIX, query(&features));
        let answer = self.kv(Method::GET, &path, String::new(), limit).await?;
        let index = answer.headers().get("x-consul-index");
        let index = index.and_then(|index| index.to_str().ok()?.parse().ok());
        let index = index.unwrap_or(0);
        let rows: Vec<KVPair> = match answer.status() {
            StatusCode::NOT_FOUND => Vec::new(),
            _ => {
                let body = answer.bytes().await;
                let body = body.map_err(|error| self.unreachable(causes(&error)))?;
                serde_json::from_slice(&body)
                    .map_err(|error| self.unreachable(error.to_string()))?
            }
        };
        let value = rows.into_iter().filter_map(entry).collect();
        Ok(Answer { index, value })
    }

    /// Writes an entry, or removes it.
    pub(super) async fn write(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        for part in key.split('/') {
            segment(part)?;
        }
        let (method, body) = match value {
            Some(value) => (Method::PUT, value.to_owned()),
            None => (Method::DELETE, String::new()),
        };
        let path = format!("{}{key}", Entries::PREFIX);
        self.kv(method, &path, body, SLACK).await.map(drop)
    }

    async fn kv(
        &self,
        method: Method,
        path: &str,
        body: String,
        limit: Duration,
    ) -> Result<Response, Error> {
        let settings = &self.consul.settings;
        let url = format!("{}/v1/kv/{path}", settings.address);
        let mut request = self.consul.http.http.request(method, url).timeout(limit);
        if let Some(token) = &settings.token {
            request = request.header("X-Consul-Token", token);
        }
        let answer = request.body(body).send().await;
        let answer = answer.map_err(|error| self.unreachable(causes(&error)))?;
        let code = answer.status().as_u16();
        if answer.status().is_success() || code == 404 {
            return Ok(answer);
        }
        let message = answer.text().await.ok();
        Err(self.error(ClientError::APIError { code, message }))
    }
}

/// What is asked for besides the entries themselves.
fn query(features: &Features) -> String {
    let mode = features.mode.as_ref().map(|_| "stale".to_owned());
    let blocking = features.blocking.as_ref().map(|blocking| {
        let wait = blocking.wait.as_deref().unwrap_or("0s");
        format!("index={}&wait={wait}", blocking.index)
    });
    mode.into_iter()
        .chain(blocking)
        .collect::<Vec<_>>()
        .join("&")
}

/// An entry without the prefix. A key that ends in a slash is a folder of Consul's interface.
fn entry(row: KVPair) -> Option<(Arc<str>, Arc<str>)> {
    let key = row.key.strip_prefix(Entries::PREFIX)?;
    if key.is_empty() || key.ends_with('/') {
        return None;
    }
    let bytes: Vec<u8> = row.value.map_or(Some(Vec::new()), |v| v.try_into().ok())?;
    let value = String::from_utf8_lossy(&bytes);
    Some((key.into(), value.trim().into()))
}

/// An error's innermost cause, which says what happened.
fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
