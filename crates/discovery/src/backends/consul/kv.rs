//! The settings that operators have written into Consul's KV store.

use std::{collections::BTreeMap, sync::Arc};

use consulrs::api::kv::common::KVPair;
use reqwest::Method;

use super::{
    blocking_query::Source,
    client::{Answer, ConsulApi, QueryMode, REQUEST_TIMEOUT, path_segment},
};
use crate::{Error, KvEntries, backends::stale_grace::Item};

/// All keys with the prefix of the mesh.
#[derive(Debug)]
pub(super) struct KvSource;

impl Item for Arc<str> {
    /// A value is in the answer or it is not.
    fn is_serving(&self) -> bool {
        true
    }
}

impl Source for KvSource {
    type Key = Arc<str>;
    type Item = Arc<str>;
    type Value = KvEntries;

    fn what(&self) -> &str {
        "the settings in KV"
    }

    async fn ask(
        &self,
        client: &ConsulApi,
        ask: QueryMode,
    ) -> Result<Answer<BTreeMap<Arc<str>, Arc<str>>>, Error> {
        client.written(ask).await
    }

    fn value(&self, values: BTreeMap<Arc<str>, Arc<str>>) -> KvEntries {
        KvEntries { values }
    }
}

impl ConsulApi {
    /// All entries. A prefix without keys is answered with "not found".
    async fn written(&self, ask: QueryMode) -> Result<Answer<BTreeMap<Arc<str>, Arc<str>>>, Error> {
        let path = format!("kv/{}?recurse", KvEntries::PREFIX);
        let rows: Answer<Option<Vec<KVPair>>> = self.get(&path, Some(ask)).await?;
        Ok(rows.map(|rows| rows.into_iter().flatten().filter_map(entry).collect()))
    }

    /// Writes or removes an entry.
    pub(super) async fn write(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        for part in key.split('/') {
            path_segment(part)?;
        }
        let (method, body) = match value {
            Some(value) => (Method::PUT, value.to_owned()),
            None => (Method::DELETE, String::new()),
        };
        let path = format!("kv/{}{key}", KvEntries::PREFIX);
        self.send(method, &path, body, REQUEST_TIMEOUT)
            .await
            .map(drop)
    }
}

/// An entry without the prefix. A key that ends in a slash is a folder of Consul's UI.
fn entry(row: KVPair) -> Option<(Arc<str>, Arc<str>)> {
    let key = row.key.strip_prefix(KvEntries::PREFIX)?;
    if key.is_empty() || key.ends_with('/') {
        return None;
    }
    let bytes: Vec<u8> = row.value.map_or(Some(Vec::new()), |v| v.try_into().ok())?;
    let value = String::from_utf8_lossy(&bytes);
    Some((key.into(), value.trim().into()))
}
