//! The `[services.NAME]` tables of the configuration file. They are read again when it changes.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use toml::{Table, Value};

use super::layer::{Layer, RawSetting};
use config::{Key, Loader, Mistake, Source, flatten};

/// The table of the file that they are in.
pub(crate) const TABLE: &str = "services";

/// How often the file is checked for changes.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Identifies a version of a file: its modification time, its inode, since editors and Kubernetes
/// replace files, and its length.
pub(super) type FileStamp = Option<(SystemTime, u64, u64)>;

pub(super) async fn stamp(path: &Path) -> FileStamp {
    let metadata = tokio::fs::metadata(path).await.ok()?;
    Some((metadata.modified().ok()?, metadata.ino(), metadata.len()))
}

/// The settings of services in a file.
///
/// # Errors
/// When it cannot be read or is not TOML.
pub(super) async fn read(path: &PathBuf) -> Result<BTreeMap<String, Vec<RawSetting>>, String> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|error| error.to_string())?;
    let table = text.parse::<Table>();
    let table = table.map_err(|error| error.to_string().trim().to_owned())?;
    let source = Source::File(path.display().to_string());
    services(table.get(TABLE), &source)
}

/// The settings in the table, by service.
///
/// # Errors
/// When it has something other than tables.
pub(crate) fn services(
    table: Option<&Value>,
    source: &Source,
) -> Result<BTreeMap<String, Vec<RawSetting>>, String> {
    let expected = || "expected tables such as [services.\"agent-echo\"]".to_owned();
    let Some(table) = table else {
        return Ok(BTreeMap::new());
    };
    let mut services = BTreeMap::new();
    for (service, values) in table.as_table().ok_or_else(expected)? {
        let raw = |(key, value): (&String, &Value)| RawSetting {
            key: key.clone(),
            value: flatten(value),
            source: source.clone(),
        };
        let values = values.as_table().ok_or_else(expected)?;
        services.insert(service.clone(), values.iter().map(raw).collect());
    }
    Ok(services)
}

/// What is wrong with the tables, when a program starts.
pub(crate) fn check(loader: &Loader, table: &Value, source: &Source) -> Vec<Mistake> {
    let wrong = |key: &str, value, expected| Mistake::new(key, value, source, expected);
    let live = loader.keys().iter().filter(|key| key.per_service);
    let keys: Vec<Key> = live.copied().collect();
    if keys.is_empty() {
        let program = loader.name();
        let expected =
            format!("{program} does not call other services: it has no settings of them");
        return vec![wrong(TABLE, None, expected)];
    }
    let services = match services(Some(table), source) {
        Ok(services) => services,
        Err(expected) => return vec![wrong(TABLE, None, expected)],
    };
    let mut layer = Layer::default();
    layer.apply(&keys, services);
    let refused = layer.refused().map(|refused| {
        let value = Some(refused.value.clone()).filter(|value| !value.is_empty());
        let key = format!("{TABLE}.{}", refused.key);
        wrong(&key, value, refused.reason.clone())
    });
    refused.collect()
}
