//! The snapshot that a caller picks from: the endpoints that may be called now.

use std::{collections::BTreeSet, sync::Arc};

use crate::{ClusterOptions, Connections, Endpoint, EndpointHealth, endpoint_set::EndpointSet};

/// Immutable. Changes of the registry, settings, ejections or connections make a new one.
pub struct ClusterSnapshot<C> {
    /// Whether the registry has answered.
    pub known: bool,
    /// The members that a policy picks from.
    pub set: balance::Set,
    /// In the order of the set's members.
    pub members: Vec<Arc<Endpoint<C>>>,
    /// Instances in the registry.
    pub registered: usize,
    /// Healthy instances that may get calls.
    pub serving: usize,
    /// Those of them without a problem.
    pub usable: usize,
    /// Reachable ones that are ejected for failures.
    pub ejected: usize,
    /// Healthy instances that an operator drains.
    pub drained: usize,
}

impl<C: Connections> ClusterSnapshot<C> {
    /// Before the registry has answered, and after the end.
    pub(crate) fn unknown(options: &ClusterOptions) -> Self {
        let turn = Arc::default();
        Self {
            known: false,
            set: balance::Set::new(Vec::new(), balance::DEFAULT, &options.balance, turn),
            members: Vec::new(),
            registered: 0,
            serving: 0,
            usable: 0,
            ejected: 0,
            drained: 0,
        }
    }

    /// A snapshot of the instances that should get calls.
    pub(crate) fn of(
        endpoints: &EndpointSet<C>,
        drained: &BTreeSet<String>,
        policy: &balance::PolicyRow,
        options: &ClusterOptions,
        turn: Arc<balance::TurnCounter>,
    ) -> Self {
        let mut healths = Vec::with_capacity(endpoints.len());
        let mut counts = [0; 3];
        let mut held = 0;
        for (instance, endpoint) in endpoints.iter() {
            let health = if !instance.is_serving() {
                None
            } else if drained.contains(&*instance.key.id) {
                held += 1;
                None
            } else {
                let health = endpoint.health();
                counts[health as usize] += 1;
                Some(health)
            };
            healths.push(health);
        }
        let [usable, ejected, unreachable] = counts;
        let reachable = usable + ejected;
        let worst = if reachable == 0 {
            // Calls may still wait for a silent one, or for a reconnect.
            EndpointHealth::Unreachable
        } else if usable * 100 < options.panic_percent * reachable {
            EndpointHealth::Ejected
        } else {
            EndpointHealth::Usable
        };
        let chosen = || {
            let all = endpoints.iter().zip(&healths);
            all.filter_map(|(both, health)| health.is_some_and(|s| s <= worst).then_some(both))
        };
        let member = |(instance, endpoint): (&Arc<discovery::Instance>, &Arc<Endpoint<C>>)| {
            balance::Member {
                hash: endpoint.hash,
                weight: instance.weight,
                load: Arc::clone(endpoint.load()),
            }
        };
        let members = chosen().map(member).collect();
        Self {
            known: true,
            set: balance::Set::new(members, policy, &options.balance, turn),
            members: chosen().map(|(_, endpoint)| Arc::clone(endpoint)).collect(),
            registered: endpoints.len(),
            serving: reachable + unreachable,
            usable,
            ejected,
            drained: held,
        }
    }
}

impl<C> std::fmt::Debug for ClusterSnapshot<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterSnapshot")
            .field("set", &self.set)
            .finish_non_exhaustive()
    }
}
