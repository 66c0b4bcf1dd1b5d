//! The table of stores: where jobs can be kept. Each row passes the same conformance suite.

mod embedded;
mod redis;

use std::sync::Arc;

pub use embedded::Embedded;
pub use redis::{Redis, RedisProbe, RedisValues, probe as probe_redis};

use crate::{Error, Store, StoreOptions};

/// Opens the store at an address.
pub type OpenStore = fn(&str, &StoreOptions) -> Result<Arc<dyn Store>, Error>;

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
        scheme: "redis",
        about: "redis://host:6379 — shared by many machines; rediss:// over TLS",
        open: |address, settings| Ok(Arc::new(Redis::new(address, settings)?)),
    },
    StoreBackend {
        scheme: "redis+sentinel",
        about: "redis+sentinel://host:26379,host:26379/name — shared, the primary that sentinels name",
        open: |address, settings| Ok(Arc::new(Redis::new(address, settings)?)),
    },
    StoreBackend {
        scheme: "redis+unix",
        about: "redis+unix:///run/redis.sock — shared by the programs of one machine",
        open: |address, settings| Ok(Arc::new(Redis::new(address, settings)?)),
    },
    StoreBackend {
        scheme: "redis+cluster",
        about: "redis+cluster://host:7000,host:7001 — shared, spread over many Redis by partition",
        open: |address, settings| Ok(Arc::new(Redis::new(address, settings)?)),
    },
    StoreBackend {
        scheme: "file",
        about: "file:///var/lib/mesh/jobs — a folder, for one process without Redis",
        open: |address, settings| {
            let folder = address.strip_prefix("file://").unwrap_or(address);
            Ok(Arc::new(Embedded::open(folder.as_ref(), settings)?))
        },
    },
];

/// Opens the store that an address names by its scheme.
///
/// # Errors
/// [`Error::Invalid`] for an unknown scheme, and what opening says.
pub fn open(address: &str, settings: &StoreOptions) -> Result<Arc<dyn Store>, Error> {
    let scheme = address.split_once(':').map_or("", |(scheme, _)| scheme);
    // TLS is a way to the same store, and a socket has a short name too.
    let plain = match scheme {
        "unix" => "redis+unix".to_owned(),
        scheme => scheme.replacen("rediss", "redis", 1),
    };
    let row = STORES.iter().find(|row| row.scheme == plain);
    let row = row.ok_or_else(|| {
        let known: Vec<&str> = STORES.iter().map(|row| row.about).collect();
        Error::invalid(
            "store",
            format!("{scheme:?} is unknown, use one of {}", known.join("; ")),
        )
    })?;
    (row.open)(address, settings)
}
