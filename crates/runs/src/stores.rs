//! The table of stores: where runs can be kept. Each row passes the same conformance suite.

mod admission;
mod find;
mod follow;
mod naming;
mod nowhere;
mod numbers;
mod page;
mod postgres;
mod questions;
mod retention;
mod sqlite;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use nowhere::Nowhere;

use crate::{Error, RunStore};

/// What stores are made with.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// How long one transaction may take before the store counts as unavailable.
    pub timeout: Duration,
    /// Connections to PostgreSQL at a time, besides the one that listens.
    pub connections: usize,
    /// PEM file of the authorities that a PostgreSQL over TLS is trusted by; the system's without one.
    pub authority: Option<PathBuf>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            connections: 8,
            authority: None,
        }
    }
}

/// Opens the store at an address.
pub type OpenStore = fn(&str, &StoreOptions) -> Result<Arc<dyn RunStore>, Error>;

/// A row of the table.
#[derive(Debug)]
pub struct StoreBackend {
    /// What addresses of this store begin with.
    pub scheme: &'static str,
    /// What it is for, in a line.
    pub about: &'static str,
    /// Opens the store at an address.
    pub open: OpenStore,
}

/// Every store.
pub const STORES: &[StoreBackend] = &[
    StoreBackend {
        scheme: "postgres",
        about: "postgres://user@host/database — shared by many machines",
        open: |address, options| Ok(Arc::new(postgres::Postgres::open(address, options)?)),
    },
    StoreBackend {
        scheme: "file",
        about: "file:///var/lib/mesh/workflows — a folder, for one process without PostgreSQL",
        open: |address, options| {
            let folder = address.strip_prefix("file://").unwrap_or(address);
            Ok(Arc::new(sqlite::Sqlite::open(folder.as_ref(), options)?))
        },
    },
];

/// Opens the store that an address names by its scheme.
///
/// # Errors
/// [`Error::Invalid`] for an unknown scheme, and what opening says.
pub fn open(address: &str, options: &StoreOptions) -> Result<Arc<dyn RunStore>, Error> {
    let scheme = address.split_once(':').map_or("", |(scheme, _)| scheme);
    let scheme = match scheme {
        "postgresql" => "postgres",
        scheme => scheme,
    };
    let row = STORES.iter().find(|row| row.scheme == scheme);
    let row = row.ok_or_else(|| {
        let known: Vec<&str> = STORES.iter().map(|row| row.about).collect();
        let known = known.join("; ");
        Error::Invalid(format!(
            "the store {scheme:?} is unknown, use one of {known}"
        ))
    })?;
    (row.open)(address, options)
}
