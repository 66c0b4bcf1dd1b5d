//! Where workflows and their runs are kept: the keys that every program around them shares.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use anyhow::Context as _;
use config::{Secret, duration, integer, keys, optional, path, port, secret, text};
use parking_lot::Mutex;
use runs::{Nowhere, RunStore, StoreOptions};

keys! {
    /// Where workflows and their runs are kept.
    #[derive(Clone, Debug)]
    pub struct RunKeys: "Store of workflows" {
        /// PostgreSQL that keeps workflows and their runs. It wins over `postgres_host` and
        /// `workflows_path`. With none of them there are no workflows.
        database_url: Option<Secret> = secret().only(
            is_postgres,
            "a URL such as postgres://user:password@host:5432/database",
        ),
        /// PEM file of the authorities that a PostgreSQL with `?sslmode=require` in `database_url` is
        /// trusted by. Empty: the system's. Without that mode there is no TLS.
        database_cacert: Option<PathBuf> = path(),
        /// Host of the PostgreSQL that keeps workflows, or the folder of its socket.
        postgres_host: Option<String> = optional(),
        /// Port of `postgres_host`.
        postgres_port: u16 = port(5432),
        /// Database at `postgres_host`. Its tables are made by the first program that comes.
        postgres_db: String = text("orchestrator"),
        /// User at `postgres_host`.
        postgres_user: String = text("orchestrator"),
        /// Password of `postgres_user`.
        postgres_password: Option<Secret> = secret(),
        /// Folder that keeps workflows on a machine without PostgreSQL, for one process.
        workflows_path: Option<String> = optional(),
        /// Connections of a program to PostgreSQL, besides the one that it listens by.
        database_connections: usize = integer(8, 2..=1000, "connections"),
        /// How long one transaction may take before the store of workflows counts as unavailable.
        database_timeout: Duration = duration("5s").zero("1 ms"),
    }
}

/// The stores that are open in this process: a folder cannot be opened twice, and programs within one
/// process share what they hear of.
static STORES: Mutex<BTreeMap<String, Weak<dyn RunStore>>> = Mutex::new(BTreeMap::new());

/// Opens the store of workflows for a program. A PostgreSQL need not be up yet. An address is opened once
/// in a process, and shared with later calls. Without an address every answer is that there is none.
///
/// # Errors
/// When the address is invalid, and when another process has the folder open.
pub fn open_runs(context: &service::Context) -> anyhow::Result<Arc<dyn RunStore>> {
    let keys = RunKeys::from_config(&context.config);
    if let Some(folder) = keys.address().as_deref().and_then(folder) {
        context.disks.watch(Path::new(folder));
    }
    keys.open()
}

impl RunKeys {
    /// Opens the store, as [`open_runs`].
    ///
    /// # Errors
    /// As [`open_runs`].
    pub fn open(&self) -> anyhow::Result<Arc<dyn RunStore>> {
        let Some(address) = self.address() else {
            return Ok(Arc::new(Nowhere));
        };
        let name = match folder(&address) {
            Some(folder) => std::path::absolute(folder)?.display().to_string(),
            None => address.clone(),
        };
        let mut stores = STORES.lock();
        stores.retain(|_, store| store.strong_count() > 0);
        if let Some(store) = stores.get(&name).and_then(Weak::upgrade) {
            return Ok(store);
        }
        let store = runs::open(&address, &self.options());
        let store = store.context("open the store of workflows")?;
        stores.insert(name, Arc::downgrade(&store));
        Ok(store)
    }

    fn options(&self) -> StoreOptions {
        StoreOptions {
            timeout: self.database_timeout.max(Duration::from_millis(1)),
            connections: self.database_connections,
            authority: self.database_cacert.clone(),
        }
    }

    /// Where workflows are kept: a URL of a PostgreSQL, or `file://` and a folder.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        if let Some(url) = &self.database_url {
            return Some(url.expose().to_owned());
        }
        let Some(host) = &self.postgres_host else {
            return Some(format!("file://{}", self.workflows_path.as_ref()?));
        };
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => encoded(host),
        };
        let password = self.postgres_password.as_ref();
        let password = password.map(|password| format!(":{}", encoded(password.expose())));
        let user = encoded(&self.postgres_user) + &password.unwrap_or_default();
        let (port, database) = (self.postgres_port, encoded(&self.postgres_db));
        Some(format!("postgres://{user}@{host}:{port}/{database}"))
    }
}

fn folder(address: &str) -> Option<&str> {
    address.strip_prefix("file://")
}

/// A text as a part of a URL.
fn encoded(text: &str) -> String {
    let mut url = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                url.push(char::from(byte));
            }
            // Writing to a string does not fail.
            _ => drop(write!(url, "%{byte:02X}")),
        }
    }
    url
}

fn is_postgres(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    matches!(scheme, Some("postgres" | "postgresql"))
}

#[cfg(test)]
mod tests {
    use config::{Config, Loader};

    use super::*;

    fn config(set: &[(&str, &str)]) -> Config {
        let loader = Loader::new(RunKeys::KEYS.to_vec());
        let set = set
            .iter()
            .fold(loader, |loader, (key, value)| loader.set(key, *value));
        set.load().unwrap()
    }

    fn keys(set: &[(&str, &str)]) -> RunKeys {
        RunKeys::from_config(&config(set))
    }

    #[test]
    fn the_store_of_workflows_is_where_the_most_exact_key_says() {
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let table: [Row<'_>; 5] = [
            (&[], None),
            (&[("workflows_path", "/var/runs")], Some("file:///var/runs")),
            (
                &[("postgres_host", "db"), ("workflows_path", "/x")],
                Some("postgres://orchestrator@db:5432/orchestrator"),
            ),
            (
                &[
                    ("postgres_host", "::1"),
                    ("postgres_port", "7"),
                    ("postgres_db", "d"),
                    ("postgres_user", "u@x"),
                    ("postgres_password", "p/:"),
                ],
                Some("postgres://u%40x:p%2F%3A@[::1]:7/d"),
            ),
            (
                &[("database_url", "postgres://a/b"), ("postgres_host", "c")],
                Some("postgres://a/b"),
            ),
        ];
        for (set, expected) in table {
            assert_eq!(keys(set).address().as_deref(), expected);
        }
        let wrong = Loader::new(RunKeys::KEYS.to_vec()).set("database_url", "mysql://a");
        assert!(wrong.load().is_err());
    }

    #[test]
    fn the_options_of_the_store_of_workflows_come_from_the_keys() {
        let keys = keys(&[
            ("database_connections", "3"),
            ("database_timeout", "7s"),
            ("database_cacert", "ca.pem"),
        ]);
        let options = keys.options();
        assert_eq!((options.connections, options.timeout.as_secs()), (3, 7));
        assert_eq!(options.authority.as_deref(), Some(Path::new("ca.pem")));
        let (default, own) = (StoreOptions::default(), RunKeys::default().options());
        assert_eq!(format!("{default:?}"), format!("{own:?}"));
    }

    #[tokio::test]
    async fn one_folder_is_one_store_of_workflows_within_a_process() {
        let folder = tempfile::tempdir().unwrap();
        let keys = keys(&[("workflows_path", folder.path().to_str().unwrap())]);
        let (one, other) = (keys.open().unwrap(), keys.open().unwrap());
        let id = one.put_blob(b"content").await.unwrap();
        assert_eq!(other.blobs(&[id]).await.unwrap(), [b"content"]);
        drop((one, other));
        keys.open().unwrap();
    }

    #[tokio::test]
    async fn without_a_store_of_workflows_every_answer_names_the_keys() {
        let none = RunKeys::default().open().unwrap();
        let answer = none.run("1").await.unwrap_err().to_string();
        assert!(answer.contains("DATABASE_URL"), "{answer}");
    }
}
