//! A list of instances from configuration, for a mesh without a registry.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Catalog, Discovery, Error, Health, Instance, InstanceKey, KvEntries, Registration, ServiceKind,
    Snapshot, publish::write, validate,
};

/// The instances that the configuration lists, always passing. A registration is accepted, so that
/// services start unchanged, but it has no effect.
#[derive(Debug)]
pub struct Fixed {
    instances: Vec<Instance>,
    catalog: watch::Sender<Option<Arc<Catalog>>>,
    /// Kept so that receivers see no closed channel. Nothing is ever sent.
    watched: Mutex<HashMap<String, watch::Sender<Option<Arc<Snapshot>>>>>,
    registered: Mutex<Vec<String>>,
    written: watch::Sender<Option<Arc<KvEntries>>>,
}

impl Fixed {
    /// From instances.
    #[must_use]
    pub fn new(instances: Vec<Instance>) -> Self {
        let catalog = watch::channel(Some(Arc::new(Catalog::of(instances.iter())))).0;
        Self {
            instances,
            catalog,
            watched: Mutex::default(),
            registered: Mutex::default(),
            written: watch::channel(Some(Arc::default())).0,
        }
    }

    /// From entries such as `agent-echo=10.0.0.1:50052`, one per instance; the entry is also the
    /// instance's ID. A service is tagged by the kind that its name begins with, else `grpc`.
    ///
    /// # Errors
    /// [`Error::Config`] quotes the first entry that is not of this form.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, Error> {
        let instances = entries.iter().map(|entry| {
            let entry = entry.as_ref().trim();
            instance(entry).ok_or_else(|| Error::Config {
                key: "fixed",
                reason: format!(
                    "write {entry:?} as service=host:port, with a port from 1 to 65535"
                ),
            })
        });
        Ok(Self::new(instances.collect::<Result<_, _>>()?))
    }
}

fn instance(entry: &str) -> Option<Instance> {
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
    Some(Instance {
        key: InstanceKey {
            node: "".into(),
            id: entry.into(),
        },
        service: service.into(),
        host: host.to_owned(),
        port,
        tags: vec![kind.map_or("grpc", |(_, name)| name).to_owned()],
        meta: [].into(),
        weight: 1,
        health: Health::Passing,
    })
}

#[async_trait::async_trait]
impl Discovery for Fixed {
    fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        self.catalog.subscribe()
    }

    fn watch(&self, service: &str) -> watch::Receiver<Option<Arc<Snapshot>>> {
        let mut watched = self.watched.lock();
        watched.retain(|name, sender| name == service || !sender.is_closed());
        let known = watched.entry(service.to_owned()).or_insert_with(|| {
            let mine = self
                .instances
                .iter()
                .filter(|instance| &*instance.service == service);
            watch::channel(Some(Arc::new(Snapshot::of(service, mine.cloned())))).0
        });
        known.subscribe()
    }

    fn entries(&self) -> watch::Receiver<Option<Arc<KvEntries>>> {
        self.written.subscribe()
    }

    async fn write(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        write(&self.written, key, value);
        Ok(())
    }

    async fn register(&self, registration: &Registration) -> Result<(), Error> {
        registration.validate("fixed")?;
        let mut registered = self.registered.lock();
        if !registered.contains(&registration.id) {
            registered.push(registration.id.clone());
        }
        Ok(())
    }

    async fn is_registered(&self, id: &str) -> Result<bool, Error> {
        Ok(self.registered.lock().iter().any(|known| known == id))
    }

    async fn deregister(&self, id: &str) -> Result<(), Error> {
        self.registered.lock().retain(|known| known != id);
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
