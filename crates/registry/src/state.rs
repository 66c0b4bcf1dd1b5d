//! The registered services, checks and entries. Every change has an index, as in Consul, for which
//! blocking queries wait.

mod kv;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

pub(crate) use self::kv::{KvPair, KvStore};
use crate::definition::{CheckDefinition, Probe, ServiceDefinition, Status};

/// The name of the only data centre.
pub(crate) const DATACENTER: &str = "dc1";
/// Most services, checks and keys together.
const MAX_ENTRIES: usize = 100_000;

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
    /// Empty for a check of the node.
    pub(crate) service_id: String,
    pub(crate) service_name: String,
    pub(crate) status: Status,
    pub(crate) output: String,
    /// Whether it stands for an operator's maintenance, and nothing is run for it.
    pub(crate) maintenance: bool,
    /// When a result was last reported, or it was registered.
    pub(crate) reported: Instant,
    /// Another one at each registration: the check's runner is started anew.
    pub(crate) round: u64,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// Everything that is registered.
#[derive(Debug, Default)]
pub(crate) struct State {
    index: u64,
    pub(crate) services: BTreeMap<String, Service>,
    pub(crate) checks: BTreeMap<String, Check>,
    pub(crate) entries: KvStore,
    /// When the instances of each name, or their checks, last changed.
    changed: HashMap<String, u64>,
    /// When a name last lost its last instance.
    extinct_index: u64,
    /// When any service last changed.
    pub(crate) services_index: u64,
    /// When any check last changed.
    pub(crate) checks_index: u64,
    /// Counts the registrations of checks.
    rounds: u64,
}

impl State {
    pub(crate) fn new() -> Self {
        // Clients read 0 as no index.
        Self {
            index: 1,
            services_index: 1,
            checks_index: 1,
            extinct_index: 1,
            ..Self::default()
        }
    }

    fn next(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// When a name's instances or their checks last changed. For a name without instances: when any name
    /// lost its last one, which is not before this name did.
    pub(crate) fn changed(&self, name: &str) -> u64 {
        let changed = self.changed.get(name);
        changed.copied().unwrap_or(self.extinct_index)
    }

    fn touch(&mut self, name: &str, index: u64) {
        if self.instances(name).next().is_some() {
            self.changed.insert(name.to_owned(), index);
        } else {
            self.changed.remove(name);
            self.extinct_index = index;
        }
    }

    fn room(&self) -> Result<(), String> {
        if self.services.len() + self.checks.len() + self.entries.len() < MAX_ENTRIES {
            return Ok(());
        }
        Err(format!("this registry holds at most {MAX_ENTRIES} entries"))
    }

    /// Writes an entry. False when `cas` is given and the entry did not last change there; 0 stands for
    /// no entry.
    pub(crate) fn put(
        &mut self,
        key: &str,
        value: Bytes,
        flags: u64,
        cas: Option<u64>,
    ) -> Result<bool, String> {
        self.room()?;
        Ok(self.change_entries(|entries, index| entries.put(key, value, flags, cas, index)))
    }

    /// Removes an entry; false when `cas` is given and the entry did not last change there.
    pub(crate) fn delete(&mut self, key: &str, cas: Option<u64>) -> bool {
        self.change_entries(|entries, index| entries.delete(key, cas, index))
    }

    /// Removes all entries beneath a prefix.
    pub(crate) fn delete_beneath(&mut self, prefix: &str) {
        self.change_entries(|entries, index| entries.delete_beneath(prefix, index));
    }

    /// Lets a change have the next index, which it may not use.
    fn change_entries<T>(&mut self, change: impl FnOnce(&mut KvStore, u64) -> T) -> T {
        let changed = change(&mut self.entries, self.index + 1);
        self.index = self.index.max(self.entries.index);
        changed
    }

    /// Registers a service in place of the one with its ID. As with Consul, its earlier checks stay,
    /// unless a new one has the same ID or `replace` is set.
    pub(crate) fn register(
        &mut self,
        mut definition: ServiceDefinition,
        replace: bool,
    ) -> Result<(), String> {
        let (id, name) = (definition.id.clone(), definition.name.clone());
        if !self.services.contains_key(&id) {
            self.room()?;
        }
        let checks = std::mem::take(&mut definition.checks);
        let known = self.services.get(&id);
        let created = known.map(|known| known.create_index);
        let before = known.map(|known| known.definition.clone());
        if before.as_ref() != Some(&definition) {
            let shown = before
                .as_ref()
                .is_some_and(|it| it.name != definition.name || it.tags != definition.tags);
            let index = self.next();
            let service = Service {
                definition,
                create_index: created.unwrap_or(index),
                modify_index: index,
            };
            self.services.insert(id.clone(), service);
            self.services_index = index;
            if shown {
                // Checks show the name and the tags of their service.
                let checks = self.checks.values_mut();
                for check in checks.filter(|check| check.service_id == id) {
                    check.service_name.clone_from(&name);
                    self.checks_index = index;
                }
            }
            self.touch(&name, index);
            if let Some(before) = before.filter(|before| before.name != name) {
                // Watchers of its former name see it leave.
                self.touch(&before.name, index);
            }
        }
        if replace {
            let stays = |check: &Check| {
                check.maintenance || checks.iter().any(|it| it.id == check.definition.id)
            };
            self.remove_checks_of(&id, |check| !stays(check));
        }
        for check in checks {
            self.insert_check(check, &id, &name, false);
        }
        Ok(())
    }

    /// Registers a check without its service.
    pub(crate) fn register_check(&mut self, mut check: CheckDefinition) -> Result<(), String> {
        self.room()?;
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
        self.insert_check(check, &service_id, &service_name, false);
        Ok(())
    }

    /// Puts a check in place of the one with its ID. The status stays: a registration says nothing about
    /// the health of the service.
    fn insert_check(
        &mut self,
        definition: CheckDefinition,
        id: &str,
        name: &str,
        maintenance: bool,
    ) {
        self.rounds += 1;
        let round = self.rounds;
        if let Some(known) = self.checks.get_mut(&definition.id)
            && known.service_id == id
        {
            if known.definition == definition && !matches!(definition.probe, Probe::Ttl(_)) {
                // Its runner goes on: a check that is registered often would never be run otherwise.
                return;
            }
            let shown = known.definition.name == definition.name
                && known.definition.notes == definition.notes;
            let check_id = definition.id.clone();
            (known.definition, known.round) = (definition, round);
            known.reported = Instant::now();
            if !shown {
                self.check_changed(&check_id);
            }
            return;
        }
        let former = self.checks.remove(&definition.id);
        let index = self.next();
        if let Some(former) = former {
            self.touch_check(&former.service_name, index);
        }
        let check = Check {
            status: definition.status.unwrap_or(Status::Critical),
            service_id: id.to_owned(),
            service_name: name.to_owned(),
            output: String::new(),
            maintenance,
            reported: Instant::now(),
            round,
            create_index: index,
            modify_index: index,
            definition,
        };
        self.checks.insert(check.definition.id.clone(), check);
        self.touch_check(name, index);
    }

    fn check_changed(&mut self, id: &str) {
        let index = self.next();
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        check.modify_index = index;
        let name = check.service_name.clone();
        self.touch_check(&name, index);
    }

    /// Removes a service and its checks; false when it is not there.
    pub(crate) fn deregister(&mut self, id: &str) -> bool {
        let Some(service) = self.services.remove(id) else {
            return false;
        };
        self.remove_checks_of(id, |_| true);
        let index = self.next();
        self.services_index = index;
        self.touch(&service.definition.name, index);
        true
    }

    /// Removes a check; false when it is not there.
    pub(crate) fn deregister_check(&mut self, id: &str) -> bool {
        let Some(check) = self.checks.remove(id) else {
            return false;
        };
        let index = self.next();
        self.touch_check(&check.service_name, index);
        true
    }

    fn remove_checks_of(&mut self, id: &str, which: impl Fn(&Check) -> bool) {
        let checks = self.checks.iter();
        let gone = checks.filter(|(_, check)| check.service_id == id && which(check));
        let gone: Vec<String> = gone.map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.deregister_check(&id);
        }
    }

    /// Marks a check's service as changed; a check of the node belongs to every service on it.
    fn touch_check(&mut self, service_name: &str, index: u64) {
        self.checks_index = index;
        if service_name.is_empty() {
            let all = self.changed.values_mut();
            all.for_each(|changed| *changed = index);
        } else {
            self.touch(service_name, index);
        }
    }

    /// Reports the result of a TTL check; false when there is none with this ID.
    pub(crate) fn report(&mut self, id: &str, status: Status, output: &str) -> bool {
        let Some(check) = self.checks.get_mut(id) else {
            return false;
        };
        if check.maintenance || !matches!(check.definition.probe, Probe::Ttl(_)) {
            return false;
        }
        check.reported = Instant::now();
        let round = check.round;
        self.outcome(id, round, status, output);
        true
    }

    /// Records the result of a check. A new output alone wakes no query: a check that counts would wake
    /// them every time. A result from before the check was registered anew is ignored.
    pub(crate) fn outcome(&mut self, id: &str, round: u64, status: Status, output: &str) {
        let check = self.checks.get_mut(id);
        let Some(check) = check.filter(|check| check.round == round) else {
            return;
        };
        output.clone_into(&mut check.output);
        if std::mem::replace(&mut check.status, status) != status {
            self.check_changed(id);
        }
    }

    /// Puts a service into maintenance or out of it; false when it is not there.
    pub(crate) fn maintain(&mut self, id: &str, on: bool, reason: &str) -> bool {
        let Some(service) = self.services.get(id) else {
            return false;
        };
        let name = service.definition.name.clone();
        let check_id = format!("_service_maintenance:{id}");
        if !on {
            self.deregister_check(&check_id);
        } else if !self.checks.contains_key(&check_id) {
            let reason = match reason {
                "" => "Maintenance mode is enabled for this service, but no reason was provided.",
                reason => reason,
            };
            let definition = CheckDefinition {
                id: check_id,
                name: "Service Maintenance Mode".to_owned(),
                service_id: id.to_owned(),
                notes: reason.to_owned(),
                status: Some(Status::Critical),
                probe: Probe::Ttl(Duration::MAX),
                interval: Duration::MAX,
                timeout: Duration::MAX,
                deregister_after: None,
                successes: 0,
                failures: 0,
            };
            self.insert_check(definition, id, &name, true);
        }
        true
    }

    /// The checks of an instance: its own, and those of the node.
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

    pub(crate) fn instances<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Service> {
        self.services
            .values()
            .filter(move |service| service.definition.name == name)
    }
}

#[cfg(test)]
mod tests;
