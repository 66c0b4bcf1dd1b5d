//! Which registry a mesh of our own uses: a Consul that is there, or the memory of this process.

use std::{collections::BTreeMap, convert::Infallible, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use discovery::{Discovery, backends::Memory};
use service::Loader;
use tokio::time::timeout;

/// How long a Consul that may be there has to answer.
const LOOK: Duration = Duration::from_millis(500);
/// How long a Consul that was asked for has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Consul if one answers, else memory.
    Auto,
    /// Memory.
    Memory,
    /// The Consul with this address.
    Consul(String),
}

impl FromStr for Choice {
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
    /// Consul's address, `None` for memory.
    pub(crate) consul: Option<String>,
    /// Which one it is and why, for people.
    pub(crate) about: String,
}

impl Registry {
    /// Finds out which one to use.
    ///
    /// # Errors
    /// When Consul was asked for and does not answer, or its settings are unusable.
    pub(crate) async fn choose(
        choice: &Choice,
        mut environment: BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        if *choice == Choice::Memory {
            return Ok(Self::memory(
                environment,
                "in memory: only this process sees it",
            ));
        }
        if let Choice::Consul(address) = choice {
            environment.insert("CONSUL_HTTP_ADDR".to_owned(), address.clone());
        }
        environment.insert("DISCOVERY".to_owned(), "consul".to_owned());
        let config = Loader::new(router::SPEC.all_keys())
            .env(environment.clone())
            .load()?;
        let address = service::consul_address(&config);
        let discovery = service::registry(&config).context("set up Consul")?;
        let patience = if *choice == Choice::Auto {
            LOOK
        } else {
            PATIENCE
        };
        if answers(&*discovery, patience).await {
            let about = format!("Consul at {address}");
            return Ok(Self {
                discovery,
                environment,
                consul: Some(address),
                about,
            });
        }
        if *choice == Choice::Auto {
            let about = format!("in memory: no Consul answers at {address}");
            return Ok(Self::memory(environment, &about));
        }
        // One that answers, and does not tell who is there, is not to be started again.
        if let Some(trouble) = discovery
            .trouble()
            .filter(|it| !it.contains("cannot be reached"))
        {
            bail!("the Consul at {address} is of no use: {trouble}");
        }
        bail!(
            "no Consul answers at {address}: start one, for example with `consul agent -dev`, or \
             do without it with `--consul none`"
        )
    }

    /// A registry of this process alone. What nobody else can find listens on the loopback
    /// interface only, and has no caller to wait for when it leaves.
    pub(crate) fn memory(mut environment: BTreeMap<String, String>, about: &str) -> Self {
        environment.insert("DISCOVERY".to_owned(), "memory".to_owned());
        for (name, value) in [
            ("LISTEN_ADDRESS", "127.0.0.1"),
            ("ADMIN_ADDRESS", "127.0.0.1"),
            ("DRAIN_DELAY", "0s"),
        ] {
            let set = environment.entry(name.to_owned()).or_default();
            if set.is_empty() {
                value.clone_into(set);
            }
        }
        let discovery = Arc::new(Memory::new());
        Self {
            discovery,
            environment,
            consul: None,
            about: about.to_owned(),
        }
    }
}

/// The catalog's first answer shows that the whole way is good: address, TLS, token.
async fn answers(discovery: &dyn Discovery, patience: Duration) -> bool {
    let mut catalog = discovery.catalog();
    let known = catalog.wait_for(Option::is_some);
    timeout(patience, known)
        .await
        .is_ok_and(|known| known.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    }

    #[tokio::test]
    async fn memory_is_used_where_no_consul_answers() {
        let environment = BTreeMap::from([("CONSUL_HTTP_ADDR".to_owned(), nobody())]);
        let registry = Registry::choose(&Choice::Auto, environment).await.unwrap();
        assert_eq!(registry.consul, None);
        assert!(
            registry.about.contains("no Consul answers at 127.0.0.1:"),
            "{}",
            registry.about
        );
        assert_eq!(registry.environment["LISTEN_ADDRESS"], "127.0.0.1");
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
