//! The parts of Consul's JSON that are read, and what they mean.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::Deserialize;

use crate::{Health, Instance, InstanceKey, LeftOut, Registration, validate};

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
    /// Empty for a service; proxies and gateways have one.
    #[serde(default)]
    kind: String,
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
    /// Changes when an instance left and came back between two answers.
    #[serde(default)]
    create_index: u64,
}

/// One row of `/v1/catalog/nodes`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NodeRow {
    pub(super) node: String,
}

/// `/v1/catalog/node/<name>`: the parts that show changes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NodeServices {
    services: HashMap<String, NodeService>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodeService {
    service: String,
    /// Changes with anything of the registration.
    #[serde(default)]
    modify_index: u64,
}

impl NodeServices {
    /// The services on the node, each with the ID and modify index of its instances there.
    pub(super) fn states(self) -> HashMap<String, BTreeSet<(String, u64)>> {
        let mut states: HashMap<_, BTreeSet<_>> = HashMap::new();
        for (id, it) in self.services {
            let of = states.entry(it.service).or_default();
            of.insert((id, it.modify_index));
        }
        states
    }
}

/// `/v1/agent/self`: the parts that identify the agent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AgentSelf {
    pub(super) config: AgentConfig,
}

#[derive(Debug, Deserialize)]
pub(super) struct AgentConfig {
    /// An agent that has lost its data, or keeps none, makes a new one.
    #[serde(rename = "NodeID")]
    pub(super) node_id: String,
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
    /// Whether it has the same service, address and port.
    pub(super) fn is_at(&self, it: &Registration) -> bool {
        self.service == it.service && self.address == it.host && self.port == i64::from(it.port)
    }
}

/// The instances in an answer about one service.
#[derive(Debug, Default)]
pub(super) struct ParsedInstances {
    pub(super) instances: BTreeMap<InstanceKey, Arc<Instance>>,
    /// How many rows are no instances.
    pub(super) excluded: usize,
    /// Those of them that cannot be called. Proxies and gateways are not listed.
    pub(super) left_out: Vec<LeftOut>,
}

/// The instances of an answer. Entries that cannot be called are left out, and so are proxies: a
/// sidecar has the tags of its service and would be called in its place.
pub(super) fn instances(rows: Vec<HealthRow>) -> ParsedInstances {
    let mut found = ParsedInstances::default();
    for row in rows {
        if !row.service.kind.is_empty() {
            found.excluded += 1;
            continue;
        }
        let (service, id) = (row.service.service.clone(), row.service.id.clone());
        match instance(row) {
            Ok(instance) => {
                found
                    .instances
                    .insert(instance.key.clone(), Arc::new(instance));
            }
            Err(reason) => {
                found.excluded += 1;
                found.left_out.push(LeftOut::new(&service, &id, reason));
            }
        }
    }
    found
}

fn instance(
    HealthRow {
        node,
        service,
        checks,
    }: HealthRow,
) -> Result<Instance, String> {
    let host = if service.address.is_empty() {
        node.address
    } else {
        service.address
    };
    validate::id(&service.id)?;
    validate::host(&host)?;
    let port = validate::port(service.port)?;
    let health = worst(checks.iter().flatten().map(|check| check.status.as_str()));
    let weight = service.weights.map_or(1, |weights| match health {
        Health::Warning => weights.warning,
        Health::Passing | Health::Critical => weights.passing,
    });
    Ok(Instance {
        key: InstanceKey {
            node: node.node.into(),
            id: service.id.into(),
        },
        service: service.service.into(),
        host,
        port,
        tags: service.tags.unwrap_or_default(),
        meta: service.meta.unwrap_or_default(),
        weight: u32::try_from(weight.max(0)).unwrap_or(u32::MAX),
        health,
    })
}

/// The worst of all checks, those of the node included. Maintenance mode is a critical check. As in
/// Consul, an instance without checks is passing.
fn worst<'a>(statuses: impl Iterator<Item = &'a str>) -> Health {
    statuses
        .map(Health::from_name)
        .max()
        .unwrap_or(Health::Passing)
}

/// The checks of each service: its own rows and those of the nodes that it runs on. A service whose
/// rows differ between two answers has changed.
pub(super) fn checks_by_service(rows: Vec<StateRow>) -> HashMap<String, BTreeSet<Arc<StateRow>>> {
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

/// The names whose values differ between two answers, or that only one of them has.
pub(super) fn differing<T: PartialEq>(
    before: &HashMap<String, T>,
    after: &HashMap<String, T>,
) -> BTreeSet<String> {
    let names = before.keys().chain(after.keys());
    names
        .filter(|name| before.get(*name) != after.get(*name))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(json: &str) -> Result<Instance, String> {
        instance(serde_json::from_str(json).expect("a row"))
    }

    fn row(service: &str) -> HealthRow {
        let json =
            format!(r#"{{"Node": {{"Node": "n", "Address": "10.0.0.1"}}, "Service": {service}}}"#);
        serde_json::from_str(&json).expect("a row")
    }

    #[test]
    fn proxies_and_gateways_are_no_instances() {
        let mut rows = vec![row(r#"{"ID": "a", "Service": "s", "Port": 1}"#)];
        for kind in [
            "connect-proxy",
            "mesh-gateway",
            "terminating-gateway",
            "ingress-gateway",
            "api-gateway",
        ] {
            let service =
                format!(r#"{{"Kind": "{kind}", "ID": "{kind}", "Service": "s", "Port": 1}}"#);
            rows.push(row(&service));
        }
        let found = instances(rows);
        assert_eq!((found.instances.len(), found.excluded), (1, 5));
        assert_eq!(found.left_out, []);
    }

    #[test]
    fn what_nobody_can_call_is_left_out_with_the_reason() {
        let rows = vec![
            row(
                r#"{"ID": "good", "Service": "s", "Port": 1, "Weights": {"Passing": -1, "Warning": 0}}"#,
            ),
            row(r#"{"ID": "no-port", "Service": "s", "Port": 70000}"#),
            row(r#"{"ID": "no-host", "Service": "s", "Port": 1, "Address": "not an address"}"#),
            row(r#"{"ID": "no\nid", "Service": "s", "Port": 1}"#),
        ];
        let found = instances(rows);
        assert_eq!(found.instances.len(), 1);
        assert_eq!(found.instances.values().next().unwrap().weight, 0);
        assert_eq!(found.excluded, 3);
        let told: Vec<_> = found.left_out.iter().map(ToString::to_string).collect();
        assert!(
            told[0].contains("no-port") && told[0].contains("70000"),
            "{told:?}"
        );
        assert!(told[1].contains("not an address"), "{told:?}");
        assert!(told[2].contains("control"), "{told:?}");
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
            InstanceKey {
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
                r#"{{"Node": {{"Node": "n", "Address": "h"}}, "Service": {{"ID": "x", "Service": "x", "Port": {port}}}}}"#
            );
            assert!(one(&row).is_err(), "{port}");
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
        let before =
            checks_by_service(vec![state("n", "a", "passing"), state("n", "b", "passing")]);
        let after = checks_by_service(vec![
            state("n", "a", "critical"),
            state("n", "b", "passing"),
        ]);
        assert_ne!(before["a"], after["a"]);
        assert_eq!(before["b"], after["b"]);
    }

    #[test]
    fn a_check_of_a_node_touches_every_service_on_it() {
        let rows = |node| vec![state("n", "a", "passing"), state("m", "b", "passing"), node];
        let before = checks_by_service(rows(state("n", "", "passing")));
        let after = checks_by_service(rows(state("n", "", "critical")));
        assert_ne!(before["a"], after["a"]);
        assert_eq!(before["b"], after["b"]);
        assert!(!before.contains_key(""));
    }
}
