//! What is registered. Every change has a number, Consul's index, which blocking queries wait for.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::definition::{CheckDefinition, ServiceDefinition, Status};

/// The name of the only data centre.
pub(crate) const DATACENTER: &str = "dc1";
/// Most services, checks and keys together.
const MOST: usize = 100_000;

/// The state, and who waits for it to move on.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The name of the only node.
    pub(crate) node: String,
    /// Made anew at each start, as Consul's: who registered knows that it has to again.
    pub(crate) node_id: String,
    state: Mutex<State>,
    index: watch::Sender<u64>,
}

/// A service that is registered.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) definition: ServiceDefinition,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// A check that is registered.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) definition: CheckDefinition,
    /// Empty for one of the node.
    pub(crate) service_id: String,
    pub(crate) service_name: String,
    pub(crate) status: Status,
    pub(crate) output: String,
    /// An operator's maintenance: nothing is run for it.
    pub(crate) maintenance: bool,
    /// How often it was reported.
    reports: u64,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// A value of the key-value store.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Bytes,
    pub(crate) flags: u64,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct State {
    index: u64,
    pub(crate) services: BTreeMap<String, Service>,
    pub(crate) checks: BTreeMap<String, Check>,
    pub(crate) entries: BTreeMap<String, Entry>,
    /// When each name's instances or their checks last changed; kept after the last one left.
    changed: HashMap<String, u64>,
    /// When any registration, any check, any entry last changed.
    pub(crate) services_index: u64,
    pub(crate) checks_index: u64,
    pub(crate) entries_index: u64,
}

impl Shared {
    pub(crate) fn new(node: &str) -> Self {
        let [a, b] = [rand::random::<u64>(), rand::random::<u64>()];
        let node_id = format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xffff,
            b >> 48,
            b & 0xffff_ffff_ffff
        );
        let state = State {
            index: 1,
            services_index: 1,
            checks_index: 1,
            entries_index: 1,
            ..State::default()
        };
        Self {
            node: node.to_owned(),
            node_id,
            state: Mutex::new(state),
            index: watch::Sender::new(1),
        }
    }

    /// Reads it.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock())
    }

    /// Changes it, and wakes those who wait where it has moved on.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let changed = change(&mut state);
        let index = state.index;
        self.index
            .send_if_modified(|known| std::mem::replace(known, index) != index);
        changed
    }

    /// Moves when the state does.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.index.subscribe()
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// When a name's instances or their checks last changed; 1 for one that never was.
    pub(crate) fn changed(&self, name: &str) -> u64 {
        self.changed.get(name).copied().unwrap_or(1)
    }

    fn touch(&mut self, name: &str, index: u64) {
        self.changed.insert(name.to_owned(), index);
        self.checks_index = index;
    }

    fn is_full(&self) -> bool {
        self.services.len() + self.checks.len() + self.entries.len() + self.changed.len() >= MOST
    }

    /// Registers a service in place of the one with its ID, its checks too. The ids of its checks.
    ///
    /// # Errors
    /// When too much is registered.
    pub(crate) fn register(&mut self, mut definition: ServiceDefinition) -> Result<(), String> {
        if self.is_full() {
            return Err(format!("this registry holds at most {MOST} entries"));
        }
        let (id, name) = (definition.id.clone(), definition.name.clone());
        let known = self.services.get(&id);
        let created = known.map(|known| known.create_index);
        let before = known.map(|known| known.definition.clone());
        let checks = std::mem::take(&mut definition.checks);
        if let Some(before) = before.filter(|before| *before != definition) {
            // Who watched it under another name sees it leave.
            let index = self.next();
            self.touch(&before.name, index);
            self.services_index = index;
        } else if created.is_none() {
            self.services_index = self.index + 1;
        }
        let index = self.next();
        let same = self
            .services
            .get(&id)
            .is_some_and(|it| it.definition == definition);
        let modified = match self.services.get(&id) {
            Some(known) if same => known.modify_index,
            _ => index,
        };
        self.services.insert(
            id.clone(),
            Service {
                definition,
                create_index: created.unwrap_or(index),
                modify_index: modified,
            },
        );
        if !same {
            self.services_index = index;
        }
        self.remove_checks_of(&id, |check| !check.maintenance);
        let several = checks.len() > 1;
        for (number, mut check) in checks.into_iter().enumerate() {
            if check.id.is_empty() {
                check.id = match several {
                    false => format!("service:{id}"),
                    true => format!("service:{id}:{}", number + 1),
                };
            }
            if check.name.is_empty() {
                check.name = format!("Service '{name}' check");
            }
            self.insert_check(check, &id, &name, index);
        }
        self.touch(&name, index);
        Ok(())
    }

    /// Registers a check on its own.
    ///
    /// # Errors
    /// When its service is not there, or too much is registered.
    pub(crate) fn register_check(&mut self, mut check: CheckDefinition) -> Result<(), String> {
        if self.is_full() {
            return Err(format!("this registry holds at most {MOST} entries"));
        }
        if check.name.is_empty() {
            return Err("Missing check name".to_owned());
        }
        if check.id.is_empty() {
            check.id.clone_from(&check.name);
        }
        let service_id = check.service_id.clone();
        let service_name = match service_id.as_str() {
            "" => String::new(),
            id => {
                let service = self.services.get(id);
                let service = service.ok_or_else(|| format!("ServiceID {id:?} does not exist"))?;
                service.definition.name.clone()
            }
        };
        let index = self.next();
        self.insert_check(check, &service_id, &service_name, index);
        self.touch_check(&service_name, index);
        Ok(())
    }

    fn insert_check(&mut self, definition: CheckDefinition, id: &str, name: &str, index: u64) {
        self.checks.insert(
            definition.id.clone(),
            Check {
                status: definition.status.unwrap_or(Status::Critical),
                service_id: id.to_owned(),
                service_name: name.to_owned(),
                output: String::new(),
                maintenance: false,
                reports: 0,
                create_index: index,
                modify_index: index,
                definition,
            },
        );
    }

    /// Takes a service and its checks out; false when it is not there.
    pub(crate) fn deregister(&mut self, id: &str) -> bool {
        let Some(service) = self.services.remove(id) else {
            return false;
        };
        let index = self.next();
        self.remove_checks_of(id, |_| true);
        self.touch(&service.definition.name, index);
        self.services_index = index;
        true
    }

    /// Takes a check out; false when it is not there.
    pub(crate) fn deregister_check(&mut self, id: &str) -> bool {
        let Some(check) = self.checks.remove(id) else {
            return false;
        };
        let index = self.next();
        self.touch_check(&check.service_name, index);
        true
    }

    fn remove_checks_of(&mut self, id: &str, which: impl Fn(&Check) -> bool) {
        self.checks
            .retain(|_, check| check.service_id != id || !which(check));
    }

    /// A check of the node concerns every service on it.
    fn touch_check(&mut self, service_name: &str, index: u64) {
        if service_name.is_empty() {
            self.checks_index = index;
            self.changed
                .values_mut()
                .for_each(|changed| *changed = index);
        } else {
            self.touch(service_name, index);
        }
    }

    /// A check came to something; false when it is not there. What it said before is no news.
    pub(crate) fn report(&mut self, id: &str, status: Status, output: &str) -> bool {
        let Some(check) = self.checks.get_mut(id) else {
            return false;
        };
        check.reports += 1;
        if check.status == status && check.output == output {
            return true;
        }
        let moved = check.status != status;
        let name = check.service_name.clone();
        // Words alone wake nobody: a check that counts would, every time.
        let index = if moved { self.next() } else { self.index };
        if let Some(check) = self.checks.get_mut(id) {
            check.status = status;
            output.clone_into(&mut check.output);
            if moved {
                check.modify_index = index;
            }
        }
        if moved {
            self.touch_check(&name, index);
        }
        true
    }

    /// How often a check was reported.
    pub(crate) fn heard(&self, id: &str) -> Option<u64> {
        self.checks.get(id).map(|check| check.reports)
    }

    /// Puts a service out of use, or into use again; false when it is not there.
    pub(crate) fn maintain(&mut self, id: &str, on: bool, reason: &str) -> bool {
        let Some(service) = self.services.get(id) else {
            return false;
        };
        let name = service.definition.name.clone();
        let check_id = format!("_service_maintenance:{id}");
        let index = self.next();
        if on {
            let reason = match reason {
                "" => "Maintenance mode is enabled for this service, but no reason was provided.",
                reason => reason,
            };
            let definition = CheckDefinition {
                id: check_id.clone(),
                name: "Service Maintenance Mode".to_owned(),
                service_id: id.to_owned(),
                notes: reason.to_owned(),
                status: Some(Status::Critical),
                probe: crate::definition::Probe::Ttl(std::time::Duration::MAX),
                interval: std::time::Duration::MAX,
                timeout: std::time::Duration::MAX,
                deregister_after: None,
            };
            self.insert_check(definition, id, &name, index);
            if let Some(check) = self.checks.get_mut(&check_id) {
                check.maintenance = true;
            }
        } else {
            self.checks.remove(&check_id);
        }
        self.touch(&name, index);
        true
    }

    /// Writes an entry. False when `cas` is given and is not what it was last changed at (0: it must
    /// not be there).
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn put(
        &mut self,
        key: &str,
        value: Bytes,
        flags: u64,
        cas: Option<u64>,
    ) -> Result<bool, String> {
        if self.is_full() {
            return Err(format!("this registry holds at most {MOST} entries"));
        }
        let known = self.entries.get(key);
        if cas.is_some_and(|cas| known.map_or(0, |known| known.modify_index) != cas) {
            return Ok(false);
        }
        let created = known.map(|known| known.create_index);
        if known.is_some_and(|known| known.value == value && known.flags == flags) {
            return Ok(true);
        }
        let index = self.next();
        self.entries.insert(
            key.to_owned(),
            Entry {
                value,
                flags,
                create_index: created.unwrap_or(index),
                modify_index: index,
            },
        );
        self.entries_index = index;
        Ok(true)
    }

    /// Takes an entry out, or all beneath a prefix.
    pub(crate) fn delete(&mut self, key: &str, recurse: bool) {
        let before = self.entries.len();
        if recurse {
            self.entries.retain(|known, _| !known.starts_with(key));
        } else {
            self.entries.remove(key);
        }
        if self.entries.len() != before {
            self.entries_index = self.next();
        }
    }

    /// The checks that concern an instance: its own, and those of the node.
    pub(crate) fn checks_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Check> {
        self.checks
            .values()
            .filter(move |check| check.service_id == id || check.service_id.is_empty())
    }

    /// The worst of an instance's checks.
    pub(crate) fn status_of(&self, id: &str) -> Status {
        let statuses = self.checks_of(id).map(|check| check.status);
        statuses.max().unwrap_or(Status::Passing)
    }

    /// The instances of a name.
    pub(crate) fn instances<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Service> {
        self.services
            .values()
            .filter(move |service| service.definition.name == name)
    }
}
