//! What is registered. Every change has a number, Consul's index, which blocking queries wait for.

mod kv;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

pub(crate) use self::kv::{KvPair, KvStore};
use crate::definition::{CheckDefinition, Probe, ServiceDefinition, Status};

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
    /// When somebody last reported for it, or it was registered.
    pub(crate) reported: Instant,
    /// Another one at each registration: who runs the check begins anew.
    pub(crate) round: u64,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct State {
    index: u64,
    pub(crate) services: BTreeMap<String, Service>,
    pub(crate) checks: BTreeMap<String, Check>,
    pub(crate) entries: KvStore,
    /// When the instances of each name that has any, or their checks, last changed.
    changed: HashMap<String, u64>,
    /// When a name last lost its last instance.
    extinct_index: u64,
    /// When any registration, any check last changed.
    pub(crate) services_index: u64,
    pub(crate) checks_index: u64,
    /// Counts the registrations of checks.
    rounds: u64,
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
            extinct_index: 1,
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

    /// When a name's instances or their checks last changed. Of a name that has none: when the last
    /// instance of any name last left, which is not before this name's did.
    pub(crate) fn changed(&self, name: &str) -> u64 {
        self.changed
            .get(name)
            .copied()
            .unwrap_or(self.extinct_index)
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
        if self.services.len() + self.checks.len() + self.entries.len() < MOST {
            return Ok(());
        }
        Err(format!("this registry holds at most {MOST} entries"))
    }

    /// Registers a service in place of the one with its ID. The checks that it had stay, unless one
    /// takes the place of another or `replace` is set: as Consul does it.
    ///
    /// # Errors
    /// When too much is registered.
    pub(crate) fn register(
        &mut self,
        mut definition: ServiceDefinition,
        replace: bool,
    ) -> Result<(), String> {
        let (id, name) = (definition.id.clone(), definition.name.clone());
        if !self.services.contains_key(&id) {
            self.room()?;
        }
        let checks = named(std::mem::take(&mut definition.checks), &id, &name);
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
                // Who watches it under its former name sees it leave.
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

    /// Registers a check on its own.
    ///
    /// # Errors
    /// When its service is not there, or too much is registered.
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

    /// Puts a check in place of the one with its ID, of which the status stays: that it is registered
    /// again says nothing of how the service is.
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
                // What runs goes on: one that is registered again and again would never be run.
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

    /// Takes a service and its checks out; false when it is not there.
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
        let gone: Vec<String> = self
            .checks
            .values()
            .filter(|check| check.service_id == id && which(check))
            .map(|check| check.definition.id.clone())
            .collect();
        for id in gone {
            self.deregister_check(&id);
        }
    }

    /// A check of the node concerns every service on it.
    fn touch_check(&mut self, service_name: &str, index: u64) {
        self.checks_index = index;
        if service_name.is_empty() {
            self.changed
                .values_mut()
                .for_each(|changed| *changed = index);
        } else {
            self.touch(service_name, index);
        }
    }

    /// Somebody reports for a check; false when there is none of this ID that is reported for.
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

    /// A check came to something. What it said before is no news, and words alone wake nobody: a
    /// check that counts would, every time. One that was registered anew meanwhile heeds nothing.
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

    /// Puts a service out of use, or into use again; false when it is not there.
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

/// The checks of a service under the IDs and names that Consul gives to those that have none.
fn named(mut checks: Vec<CheckDefinition>, id: &str, name: &str) -> Vec<CheckDefinition> {
    let several = checks.len() > 1;
    for (number, check) in checks.iter_mut().enumerate() {
        if check.id.is_empty() {
            check.id = match several {
                false => format!("service:{id}"),
                true => format!("service:{id}:{}", number + 1),
            };
        }
        if check.name.is_empty() {
            check.name = format!("Service '{name}' check");
        }
    }
    checks
}

#[cfg(test)]
mod tests;
