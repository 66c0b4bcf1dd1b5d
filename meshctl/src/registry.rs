//! Which registry a mesh of our own uses: a Consul that is there, one in this process that answers as
//! Consul does, or the memory of this process.

use std::{
    collections::BTreeMap, convert::Infallible, net::SocketAddr, str::FromStr, sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use discovery::{Discovery, backends::Memory, first_answer};
use tokio::net::TcpListener;

/// How long a Consul that may be there has to answer.
const AUTO_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a Consul that was asked for has to answer.
const NAMED_TIMEOUT: Duration = Duration::from_secs(3);

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegistryChoice {
    /// Consul if one answers, else a registry in this process that answers in its place.
    Auto,
    /// Memory.
    Memory,
    /// The Consul with this address.
    Consul(String),
}

impl FromStr for RegistryChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "auto" | "" => Self::Auto,
            "none" => Self::Memory,
            address => Self::Consul(address.to_owned()),
        })
    }
}

/// A registry, and the configuration of those who use it.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) discovery: Arc<dyn Discovery>,
    /// The environment layer of each instance's configuration.
    pub(crate) environment: BTreeMap<String, String>,
    /// The address of the Consul that is there, `None` without one.
    pub(crate) consul: Option<String>,
    /// The registry in this process that answers as Consul does, where there is one. It ends with
    /// this, after those who are registered.
    pub(crate) embedded: Option<registry::RegistryServer>,
    /// Which one it is and why, for people.
    pub(crate) about: String,
}

impl Registry {
    /// Finds out which one to use.
    ///
    /// # Errors
    /// When Consul was asked for and does not answer, or its settings are unusable.
    pub(crate) async fn choose(
        choice: &RegistryChoice,
        mut environment: BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let patience = match choice {
            RegistryChoice::Memory => {
                let about = "in memory: only this process sees it".to_owned();
                return Ok(Self::memory(environment, about));
            }
            RegistryChoice::Auto => AUTO_TIMEOUT,
            RegistryChoice::Consul(address) => {
                environment.insert("CONSUL_HTTP_ADDR".to_owned(), address.clone());
                NAMED_TIMEOUT
            }
        };
        environment.insert("DISCOVERY".to_owned(), "consul".to_owned());
        let config = router::SPEC.loader().env(environment.clone()).load()?;
        let address = service::consul_address(&config);
        let discovery = service::registry(&config).context("set up Consul")?;
        if answers(&*discovery, patience).await {
            return Ok(Self::consul(environment, discovery, address));
        }
        if *choice == RegistryChoice::Auto {
            return Ok(Self::embedded_or_memory(environment, discovery, address).await);
        }
        match discovery.last_error() {
            None | Some(discovery::Error::Unreachable { .. }) => bail!(
                "no Consul answers at {address}: start one, for example with `consul agent -dev`, \
                 or do without it with `--consul none`"
            ),
            Some(trouble) => bail!("the Consul at {address} cannot be used: {trouble}"),
        }
    }

    fn consul(
        environment: BTreeMap<String, String>,
        discovery: Arc<dyn Discovery>,
        address: String,
    ) -> Self {
        let about = format!("Consul at {address}");
        Self {
            discovery,
            environment,
            consul: Some(address),
            embedded: None,
            about,
        }
    }

    /// A registry in this process, where Consul would be: programs that are started beside it join.
    /// Memory, where another program has the port or the address is another machine's.
    async fn embedded_or_memory(
        environment: BTreeMap<String, String>,
        discovery: Arc<dyn Discovery>,
        address: String,
    ) -> Self {
        let Some(here) = loopback_address(&address) else {
            let about = format!("in memory: no Consul answers at {address}");
            return Self::memory(environment, about);
        };
        match TcpListener::bind(here).await {
            Ok(listener) => Self::embedded(environment, discovery, &address, listener),
            // A Consul that is still starting, or the registry of a mesh that was started meanwhile.
            Err(_) if answers(&*discovery, NAMED_TIMEOUT).await => {
                Self::consul(environment, discovery, address)
            }
            Err(error) => {
                let about = format!(
                    "in memory: no Consul answers at {address}, and this process cannot: {error}"
                );
                Self::memory(environment, about)
            }
        }
    }

    fn embedded(
        mut environment: BTreeMap<String, String>,
        discovery: Arc<dyn Discovery>,
        address: &str,
        listener: TcpListener,
    ) -> Self {
        let server = registry::RegistryServer::start(listener, "localhost");
        let about = format!(
            "in this process, at {}: no Consul answers at {address}; programs that are started \
             beside it join",
            server.address()
        );
        set_defaults(&mut environment, &LOOPBACK);
        set_defaults(&mut environment, &[("SERVICE_HOST", "127.0.0.1")]);
        Self {
            discovery,
            environment,
            consul: None,
            embedded: Some(server),
            about,
        }
    }

    /// A registry of this process alone. What nobody else can find listens on the loopback
    /// interface only, and has no caller to wait for when it leaves.
    pub(crate) fn memory(mut environment: BTreeMap<String, String>, about: String) -> Self {
        environment.insert("DISCOVERY".to_owned(), "memory".to_owned());
        set_defaults(&mut environment, &LOOPBACK);
        Self {
            discovery: Arc::new(Memory::new()),
            environment,
            consul: None,
            embedded: None,
            about,
        }
    }
}

/// Settings of a mesh on this machine alone.
const LOOPBACK: [(&str, &str); 3] = [
    ("LISTEN_ADDRESS", "127.0.0.1"),
    ("ADMIN_ADDRESS", "127.0.0.1"),
    ("DRAIN_DELAY", "0s"),
];

/// Sets what is not set.
fn set_defaults(environment: &mut BTreeMap<String, String>, defaults: &[(&str, &str)]) {
    for (name, value) in defaults {
        let set = environment.entry((*name).to_owned()).or_default();
        if set.is_empty() {
            (*value).clone_into(set);
        }
    }
}

/// The address of a URL or `host:port` that is this machine's loopback interface.
fn loopback_address(address: &str) -> Option<SocketAddr> {
    let address = address.trim_end_matches('/');
    let address = match address.split_once("://") {
        Some(("http", address)) => address,
        Some(_) => return None,
        None => address,
    };
    let address = address.replacen("localhost", "127.0.0.1", 1);
    let here: SocketAddr = address.parse().ok()?;
    here.ip().is_loopback().then_some(here)
}

/// Whether the catalog is answered: then address, TLS and token are right.
async fn answers(discovery: &dyn Discovery, patience: Duration) -> bool {
    first_answer(&mut discovery.catalog(), patience)
        .await
        .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    }

    #[tokio::test]
    async fn a_registry_in_this_process_is_used_where_no_consul_answers() {
        let environment = BTreeMap::from([("CONSUL_HTTP_ADDR".to_owned(), nobody())]);
        let registry = Registry::choose(&RegistryChoice::Auto, environment)
            .await
            .unwrap();
        assert_eq!(registry.consul, None);
        assert!(
            registry.about.contains("no Consul answers at 127.0.0.1:"),
            "{}",
            registry.about
        );
        assert_eq!(registry.environment["LISTEN_ADDRESS"], "127.0.0.1");
        assert!(registry.embedded.is_some());
        assert!(
            answers(&*registry.discovery, NAMED_TIMEOUT).await,
            "it answers as Consul does"
        );
    }

    #[tokio::test]
    async fn memory_is_used_where_another_program_has_consuls_port() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let environment = BTreeMap::from([("CONSUL_HTTP_ADDR".to_owned(), address)]);
        let registry = Registry::choose(&RegistryChoice::Auto, environment)
            .await
            .unwrap();
        assert!(registry.embedded.is_none() && registry.consul.is_none());
        assert!(
            registry.about.starts_with("in memory"),
            "{}",
            registry.about
        );
    }

    #[tokio::test]
    async fn of_two_that_are_started_at_once_one_joins_the_others_registry() {
        let environment = BTreeMap::from([("CONSUL_HTTP_ADDR".to_owned(), nobody())]);
        let [one, other] = [environment.clone(), environment];
        let (one, other) = tokio::join!(
            Registry::choose(&RegistryChoice::Auto, one),
            Registry::choose(&RegistryChoice::Auto, other)
        );
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_ne!(one.embedded.is_some(), other.embedded.is_some());
        assert_ne!(one.consul.is_some(), other.consul.is_some());
    }

    #[test]
    fn only_this_machines_loopback_interface_is_here() {
        for (address, expected) in [
            ("http://127.0.0.1:8500", true),
            ("localhost:8500", true),
            ("http://[::1]:8500/", true),
            ("https://127.0.0.1:8500", false),
            ("http://10.0.0.1:8500", false),
            ("http://consul:8500", false),
        ] {
            assert_eq!(loopback_address(address).is_some(), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_consul_that_was_named_must_answer() {
        let choice = nobody().parse().unwrap();
        let error = Registry::choose(&choice, BTreeMap::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("--consul none"), "{error}");
    }
}
