//! One instance, as Consul or a router tells of it.

use std::collections::BTreeMap;

use discovery::{Catalog, ServiceKind, authority};
use proto::mesh::v1::{self, Health};
use serde_json::Value;

/// One instance of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) service: String,
    /// `host:port` of its port.
    pub(crate) address: String,
    /// `host:port` of its admin listener, where it tells one.
    pub(crate) admin: Option<String>,
    pub(crate) version: String,
    /// Whether it may be given calls.
    pub(crate) healthy: bool,
    pub(crate) router: bool,
    /// Consul's node; empty for a registry without nodes.
    pub(crate) node: String,
    pub(crate) grpc_services: Vec<String>,
}

impl Member {
    /// The host of its address.
    pub(crate) fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_matches(['[', ']'])
    }

    /// As a router tells it.
    pub(crate) fn of(instance: v1::Instance) -> Self {
        let host = instance.address.rsplit_once(':').map_or("", |it| it.0);
        let host = host.trim_matches(['[', ']']);
        let port = u16::try_from(instance.admin_port).unwrap_or(0);
        Self {
            admin: (port != 0).then(|| authority(host, port)),
            healthy: instance.health() != Health::Critical,
            router: instance.kind == ServiceKind::Router.name(),
            id: instance.id,
            service: instance.service,
            address: instance.address,
            version: instance.version,
            node: instance.node,
            grpc_services: instance.grpc_services,
        }
    }

    /// A row of Consul's `/v1/health/service/NAME`; `None` for what is no part of the mesh.
    pub(crate) fn of_consul(row: &Value) -> Option<Self> {
        let (service, node) = (&row["Service"], &row["Node"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if !text(&service["Kind"]).is_empty() {
            return None;
        }
        let tags: Vec<String> = service["Tags"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect();
        let meta: BTreeMap<String, String> =
            serde_json::from_value(service["Meta"].clone()).unwrap_or_default();
        let is_router = ServiceKind::from_tags(&tags) == ServiceKind::Router;
        if !(meta.contains_key("kind") || is_router || Catalog::belongs(&tags)) {
            return None;
        }
        let host = Some(text(&service["Address"])).filter(|host| !host.is_empty());
        let host = host.unwrap_or_else(|| text(&node["Address"]));
        let port = u16::try_from(service["Port"].as_u64()?).ok()?;
        let admin: Option<u16> = meta.get("admin_port").and_then(|port| port.parse().ok());
        let mut checks = row["Checks"].as_array().into_iter().flatten();
        let listed = meta.get("grpc_services").map(|names| names.split(','));
        let names = listed.into_iter().flatten().map(str::trim);
        Some(Self {
            id: text(&service["ID"]),
            service: text(&service["Service"]),
            address: authority(&host, port),
            admin: admin.map(|port| authority(&host, port)),
            version: meta.get("version").cloned().unwrap_or_default(),
            healthy: checks
                .all(|check| matches!(check["Status"].as_str(), Some("passing" | "warning"))),
            router: is_router || meta.get("kind").is_some_and(|kind| kind == "router"),
            node: text(&node["Node"]),
            grpc_services: names
                .filter(|it| !it.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_of_consul_is_an_instance_of_the_mesh_or_none() {
        let row = |tags: &[&str], meta: Value| {
            json!({
                "Node": { "Node": "n", "Address": "10.0.0.9" },
                "Service": { "ID": "a-1", "Service": "agent-a", "Address": "", "Port": 7,
                    "Tags": tags, "Meta": meta },
                "Checks": [{ "Status": "passing" }, { "Status": "critical" }],
            })
        };
        let meta = json!({ "admin_port": "9", "version": "1", "grpc_services": "a.B, c.D" });
        let member = Member::of_consul(&row(&["agent"], meta)).unwrap();
        assert_eq!(member.address, "10.0.0.9:7");
        assert_eq!(member.admin.as_deref(), Some("10.0.0.9:9"));
        assert_eq!(member.grpc_services, ["a.B", "c.D"]);
        assert!(!member.healthy && !member.router && member.host() == "10.0.0.9");
        assert_eq!(Member::of_consul(&row(&["web"], Value::Null)), None);
        let kind = Member::of_consul(&row(&["web"], json!({ "kind": "service" })));
        assert!(kind.is_some());
        assert!(
            Member::of_consul(&row(&["router"], Value::Null))
                .unwrap()
                .router
        );
    }
}
