//! What a pick works on: who may be called now, and how one of them is chosen.

use std::{collections::BTreeSet, sync::Arc};

use crate::{Options, endpoint::Endpoint, faults::Standing, roster::Roster};

/// Immutable: made anew when the registry, the settings, an ejection or a connection said something.
pub(crate) struct View {
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

impl View {
    /// Before the registry has answered, and after the end.
    pub(crate) fn unknown(options: &Options) -> Self {
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
        roster: &Roster,
        drained: &BTreeSet<String>,
        policy: &balance::Row,
        options: &Options,
        turn: Arc<balance::Turn>,
    ) -> Self {
        let mut standings = Vec::with_capacity(roster.len());
        let mut counts = [0; 3];
        let mut held = 0;
        for (instance, endpoint) in roster.iter() {
            let standing = if !instance.is_serving() {
                None
            } else if drained.contains(&*instance.key.id) {
                held += 1;
                None
            } else {
                let standing = endpoint.standing();
                counts[standing as usize] += 1;
                Some(standing)
            };
            standings.push(standing);
        }
        let [usable, ejected, unreachable] = counts;
        let reachable = usable + ejected;
        let worst = if reachable == 0 {
            // A call may still wait for a silent one, or for a reconnect.
            Standing::Unreachable
        } else if usable * 100 < options.panic_percent * reachable {
            Standing::Ejected
        } else {
            Standing::Usable
        };
        let chosen = || {
            let all = roster.iter().zip(&standings);
            all.filter_map(|(both, standing)| standing.is_some_and(|s| s <= worst).then_some(both))
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
