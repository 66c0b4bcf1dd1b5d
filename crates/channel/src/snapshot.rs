//! What a pick works on: who may be called now, and how one of them is chosen.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    ClusterOptions, endpoint::Endpoint, endpoint_set::EndpointSet, health::EndpointHealth,
};

/// Immutable: made anew when the registry, the settings, an ejection or a connection said something.
pub(crate) struct ClusterSnapshot {
    /// Whether the registry has answered.
    pub(crate) known: bool,
    pub(crate) set: balance::Set,
    /// In the order of the set's members.
    pub(crate) members: Vec<Arc<Endpoint>>,
    /// Healthy instances that may get calls.
    pub(crate) serving: usize,
    /// Those of them about which nothing is known against it.
    pub(crate) usable: usize,
    /// Those that can be reached, and are ejected for failures.
    pub(crate) ejected: usize,
    /// Healthy instances that get no new calls because an operator says so.
    pub(crate) drained: usize,
}

impl ClusterSnapshot {
    /// Before the registry has answered, and after the end.
    pub(crate) fn unknown(options: &ClusterOptions) -> Self {
        let turn = Arc::default();
        Self {
            known: false,
            set: balance::Set::new(Vec::new(), balance::DEFAULT, &options.balance, turn),
            members: Vec::new(),
            serving: 0,
            usable: 0,
            ejected: 0,
            drained: 0,
        }
    }

    /// Of the instances that the registry names, those that should get calls.
    pub(crate) fn of(
        endpoints: &EndpointSet,
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
            // A call may still wait for a silent one, or for a reconnect.
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
        let member =
            |(instance, endpoint): (&Arc<discovery::Instance>, &Arc<Endpoint>)| balance::Member {
                hash: endpoint.hash,
                weight: instance.weight,
                load: Arc::clone(&endpoint.load),
            };
        let members = chosen().map(member).collect();
        Self {
            known: true,
            set: balance::Set::new(members, policy, &options.balance, turn),
            members: chosen().map(|(_, endpoint)| Arc::clone(endpoint)).collect(),
            serving: reachable + unreachable,
            usable,
            ejected,
            drained: held,
        }
    }
}
