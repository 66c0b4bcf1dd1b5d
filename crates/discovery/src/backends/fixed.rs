//! A list of instances from configuration, for a mesh without a registry.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Memory;
use crate::{
    Catalog, Check, Discovery, Error, KvEntries, Registration, ServiceKind, Snapshot, validate,
};

/// The instances that the configuration lists, always passing. A registration is accepted, so that
/// services start unchanged, but it has no effect.
#[derive(Debug)]
pub struct Fixed {
    listed: Memory,
    registered: Mutex<BTreeSet<String>>,
}

impl Fixed {
    /// From entries such as `agent-echo=10.0.0.1:50052`, one per instance; the entry is also the
    /// instance's ID. A service is tagged by the kind that its name begins with, else `grpc`.
    ///
    /// # Errors
    /// [`Error::Config`] quotes the first entry that is not of this form.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, Error> {
        let listed = entries.iter().map(|entry| {
            let entry = entry.as_ref().trim();
            listed(entry).ok_or_else(|| Error::Config {
                key: "fixed",
                reason: format!(
                    "write {entry:?} as service=host:port, with a port from 1 to 65535"
                ),
            })
        });
        Ok(Self {
            listed: Memory::of(listed.collect::<Result<Vec<_>, _>>()?),
            registered: Mutex::default(),
        })
    }
}

fn listed(entry: &str) -> Option<Registration> {
    let (service, address) = entry.split_once('=')?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    validate::name(service)
        .and_then(|()| validate::host(host))
        .ok()?;
    let kind = ServiceKind::ALL
        .into_iter()
        .find(|(kind, _)| kind.public_id(service).is_some());
    Some(Registration {
        id: entry.to_owned(),
        service: service.to_owned(),
        host: host.to_owned(),
        port,
        tags: vec![kind.map_or("grpc", |(_, name)| name).to_owned()],
        meta: BTreeMap::new(),
        weight_passing: 1,
        weight_warning: 1,
        // Nobody checks a listed instance.
        check: Check::Tcp,
        check_interval: Duration::ZERO,
        deregister_after: Duration::ZERO,
    })
}

#[async_trait::async_trait]
impl Discovery for Fixed {
    fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        self.listed.catalog()
    }

    fn watch(&self, service: &str) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.listed.watch(service)
    }

    fn entries(&self) -> watch::Receiver<Option<Arc<KvEntries>>> {
        self.listed.entries()
    }

    async fn write(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        self.listed.write(key, value).await
    }

    async fn register(&self, registration: &Registration) -> Result<(), Error> {
        registration.validate("fixed")?;
        self.registered.lock().insert(registration.id.clone());
        Ok(())
    }

    async fn is_registered(&self, id: &str) -> Result<bool, Error> {
        Ok(self.registered.lock().contains(id))
    }

    async fn deregister(&self, id: &str) -> Result<(), Error> {
        self.registered.lock().remove(id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_services_hosts_and_ports() {
        let fixed = Fixed::parse(&["agent-echo=[::1]:50052", "billing=db.local:9"]).unwrap();
        let snapshot = fixed.watch("agent-echo").borrow().clone().unwrap();
        assert_eq!(snapshot.instances[0].authority(), "[::1]:50052");
        assert_eq!(snapshot.instances[0].kind(), ServiceKind::Agent);
        let catalog = fixed.catalog().borrow().clone().unwrap();
        assert_eq!(catalog.services["billing"], ["grpc"]);
    }

    #[test]
    fn a_bad_entry_is_quoted() {
        for entry in [
            "agent-echo",
            "a=b",
            "a=b:0",
            "=h:1",
            "a=:1",
            "a=h:65536",
            "a b=h:1",
            "a/b=h:1",
            "a=no host:1",
            "a=0.0.0.0:1",
            "a=h:1:1",
        ] {
            let error = Fixed::parse(&[entry]).expect_err(entry).to_string();
            assert!(error.contains(entry), "{error}");
        }
    }

    #[test]
    fn receivers_are_not_told_that_the_backend_is_gone() {
        let fixed = Fixed::parse(&["agent-echo=127.0.0.1:1"]).unwrap();
        assert!(fixed.watch("agent-echo").has_changed().is_ok());
        assert!(fixed.catalog().has_changed().is_ok());
    }

    #[test]
    fn an_unknown_service_is_an_empty_snapshot() {
        let fixed = Fixed::parse::<&str>(&[]).unwrap();
        assert_eq!(
            fixed.watch("nobody").borrow().as_deref(),
            Some(&Snapshot::empty("nobody"))
        );
    }
}
