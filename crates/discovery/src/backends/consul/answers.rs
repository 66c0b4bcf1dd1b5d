//! Consul's JSON, as far as it is read, and what it means.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::Deserialize;

use crate::{Health, Instance, Key, Registration};

/// One row of `/v1/health/service/<name>`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HealthRow {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Option<Vec<Check>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    #[serde(default)]
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    service: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: i64,
    // Go writes an empty list or map as null.
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    weights: Option<Weights>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: i64,
    warning: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    status: String,
}

/// One row of `/v1/health/state/any`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StateRow {
    node: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
    #[serde(rename = "CheckID")]
    check_id: String,
    status: String,
    /// Empty for a check of the node itself.
    service_name: String,
    #[serde(default)]
    service_tags: Option<Vec<String>>,
    /// Moves when an instance left and came back between two answers.
    #[serde(default)]
    create_index: u64,
}

/// One value of `/v1/agent/services`, by service ID.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AgentService {
    service: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: i64,
}

impl AgentService {
    /// Whether it is of the same service, at the same address and port.
    pub(super) fn is_at(&self, it: &Registration) -> bool {
        self.service == it.service && self.address == it.host && self.port == i64::from(it.port)
    }
}

/// The instances of an answer. One without a port cannot be called and is left out.
pub(super) fn instances(rows: Vec<HealthRow>) -> BTreeMap<Key, Arc<Instance>> {
    let instances = rows.into_iter().filter_map(instance);
    instances
        .map(|instance| (instance.key.clone(), Arc::new(instance)))
        .collect()
}

fn instance(
    HealthRow {
        node,
        service,
        checks,
    }: HealthRow,
) -> Option<Instance> {
    let port = u16::try_from(service.port).ok().filter(|port| *port > 0)?;
    let health = worst(checks.iter().flatten().map(|check| check.status.as_str()));
    let weight = service.weights.map_or(1, |weights| match health {
        Health::Warning => weights.warning,
        Health::Passing | Health::Critical => weights.passing,
    });
    Some(Instance {
        key: Key {
            node: node.node.into(),
            id: service.id.into(),
        },
        service: service.service.into(),
        host: if service.address.is_empty() {
            node.address
        } else {
            service.address
        },
        port,
        tags: service.tags.unwrap_or_default(),
        meta: service.meta.unwrap_or_default(),
        weight: u32::try_from(weight.max(0)).unwrap_or(u32::MAX),
        health,
    })
}

/// The worst of all checks, those of the node included; maintenance mode is a critical check. No
/// check at all is passing, as Consul has it; a status that we do not know is no good sign.
fn worst<'a>(statuses: impl Iterator<Item = &'a str>) -> Health {
    let rank = |status| match status {
        "passing" => 0,
        "warning" => 1,
        _ => 2,
    };
    match statuses.map(rank).max() {
        None | Some(0) => Health::Passing,
        Some(1) => Health::Warning,
        Some(_) => Health::Critical,
    }
}

/// What the checks say of each service: its own rows and those of the nodes that it runs on.
/// A service whose group differs between two answers has news.
pub(super) fn groups(rows: Vec<StateRow>) -> HashMap<String, BTreeSet<Arc<StateRow>>> {
    let (of_nodes, of_services): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .map(Arc::new)
        .partition(|row| row.service_name.is_empty());
    let mut by_node: HashMap<&str, Vec<&Arc<StateRow>>> = HashMap::new();
    for row in &of_nodes {
        by_node.entry(&row.node).or_default().push(row);
    }
    let mut groups: HashMap<String, BTreeSet<Arc<StateRow>>> = HashMap::new();
    for row in of_services {
        let group = groups.entry(row.service_name.clone()).or_default();
        group.extend(
            by_node
                .get(row.node.as_str())
                .into_iter()
                .flatten()
                .copied()
                .cloned(),
        );
        group.insert(row);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(json: &str) -> Option<Instance> {
        instance(serde_json::from_str(json).expect("a row"))
    }

    #[test]
    fn a_full_row_becomes_an_instance() {
        let found = one(
            r#"{"Node": {"Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1"},
            "Service": {"ID": "echo-agent-1", "Service": "agent-echo", "Address": "10.0.0.2",
                "Port": 50052, "Tags": ["agent"], "Meta": {"version": "1"},
                "Weights": {"Passing": 10, "Warning": 3}, "TaggedAddresses": {"lan": {}}},
            "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"Status": "warning"}]}"#,
        )
        .unwrap();
        assert_eq!(
            found.key,
            Key {
                node: "n1".into(),
                id: "echo-agent-1".into()
            }
        );
        assert_eq!(found.authority(), "10.0.0.2:50052");
        assert_eq!((found.health, found.weight), (Health::Warning, 3));
        assert_eq!(found.version(), "1");
    }

    #[test]
    fn a_bare_row_takes_the_address_of_its_node_and_is_passing() {
        let found = one(r#"{"Node": {"Node": "n1", "Address": "10.0.0.1"},
            "Service": {"ID": "x", "Service": "x", "Address": "", "Port": 1, "Tags": null,
            "Meta": null}, "Checks": null}"#)
        .unwrap();
        assert_eq!(found.authority(), "10.0.0.1:1");
        assert_eq!((found.health, found.weight), (Health::Passing, 1));
    }

    #[test]
    fn an_instance_without_a_usable_port_is_left_out() {
        for port in [0, -1, 65536] {
            let row = format!(
                r#"{{"Node": {{"Node": "n"}}, "Service": {{"ID": "x", "Service": "x", "Port": {port}}}}}"#
            );
            assert_eq!(one(&row), None, "{port}");
        }
    }

    #[test]
    fn the_worst_check_decides_and_maintenance_is_critical() {
        assert_eq!(worst([].into_iter()), Health::Passing);
        assert_eq!(worst(["passing", "warning"].into_iter()), Health::Warning);
        assert_eq!(
            worst(["warning", "critical", "passing"].into_iter()),
            Health::Critical
        );
        assert_eq!(
            worst(["passing", "maintenance"].into_iter()),
            Health::Critical
        );
    }

    fn state(node: &str, service: &str, status: &str) -> StateRow {
        StateRow {
            node: node.to_owned(),
            service_id: service.to_owned(),
            check_id: format!("service:{service}"),
            status: status.to_owned(),
            service_name: service.to_owned(),
            service_tags: None,
            create_index: 1,
        }
    }

    #[test]
    fn a_change_touches_the_group_of_its_service_only() {
        let before = groups(vec![state("n", "a", "passing"), state("n", "b", "passing")]);
        let after = groups(vec![
            state("n", "a", "critical"),
            state("n", "b", "passing"),
        ]);
        assert_ne!(before["a"], after["a"]);
        assert_eq!(before["b"], after["b"]);
    }

    #[test]
    fn a_check_of_a_node_touches_every_service_on_it() {
        let rows = |node| vec![state("n", "a", "passing"), state("m", "b", "passing"), node];
        let before = groups(rows(state("n", "", "passing")));
        let after = groups(rows(state("n", "", "critical")));
        assert_ne!(before["a"], after["a"]);
        assert_eq!(before["b"], after["b"]);
        assert!(!before.contains_key(""));
    }
}
