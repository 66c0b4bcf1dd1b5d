//! The state as Consul's JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    definition::Status,
    shared::Shared,
    state::{Check, DATACENTER, Service, State},
};

/// The only node.
pub(super) fn node(shared: &Shared) -> Value {
    json!({
        "ID": shared.node_id,
        "Node": shared.node,
        "Address": "127.0.0.1",
        "Datacenter": DATACENTER,
        "TaggedAddresses": { "lan": "127.0.0.1", "wan": "127.0.0.1" },
        "Meta": {},
        "CreateIndex": 1,
        "ModifyIndex": 1,
    })
}

/// A service as the agent shows it.
pub(super) fn service(it: &Service) -> Value {
    let definition = &it.definition;
    json!({
        "Kind": definition.kind,
        "ID": definition.id,
        "Service": definition.name,
        "Tags": definition.tags,
        "Meta": definition.meta,
        "Address": definition.address,
        "Port": definition.port,
        "Weights": weights(it),
        "EnableTagOverride": definition.tag_override,
        "CreateIndex": it.create_index,
        "ModifyIndex": it.modify_index,
    })
}

pub(super) fn services(state: &State) -> Value {
    let services = state.services.iter();
    let services = services.map(|(id, it)| (id.clone(), service(it)));
    Value::Object(services.collect())
}

/// A service as the catalog shows it.
pub(super) fn catalog_service(shared: &Shared, it: &Service) -> Value {
    let definition = &it.definition;
    json!({
        "ID": shared.node_id,
        "Node": shared.node,
        "Address": "127.0.0.1",
        "Datacenter": DATACENTER,
        "NodeMeta": {},
        "ServiceKind": definition.kind,
        "ServiceID": definition.id,
        "ServiceName": definition.name,
        "ServiceTags": definition.tags,
        "ServiceMeta": definition.meta,
        "ServiceAddress": definition.address,
        "ServicePort": definition.port,
        "ServiceWeights": weights(it),
        "ServiceEnableTagOverride": definition.tag_override,
        "CreateIndex": it.create_index,
        "ModifyIndex": it.modify_index,
    })
}

fn weights(it: &Service) -> Value {
    let (passing, warning) = it.definition.weights;
    json!({ "Passing": passing, "Warning": warning })
}

/// A check, with the tags of its service.
pub(super) fn check(shared: &Shared, state: &State, it: &Check) -> Value {
    let service = state.services.get(&it.service_id);
    let tags = service.map_or(&[][..], |service| &service.definition.tags);
    json!({
        "Node": shared.node,
        "CheckID": it.definition.id,
        "Name": it.definition.name,
        "Status": it.status.name(),
        "Notes": it.definition.notes,
        "Output": it.output,
        "ServiceID": it.service_id,
        "ServiceName": it.service_name,
        "ServiceTags": tags,
        "CreateIndex": it.create_index,
        "ModifyIndex": it.modify_index,
    })
}

/// The check that Consul has of every node.
pub(super) fn node_check(shared: &Shared) -> Value {
    json!({
        "Node": shared.node,
        "CheckID": "serfHealth",
        "Name": "Serf Health Status",
        "Status": Status::Passing.name(),
        "Notes": "",
        "Output": "Agent alive and reachable",
        "ServiceID": "",
        "ServiceName": "",
        "ServiceTags": [],
        "CreateIndex": 1,
        "ModifyIndex": 1,
    })
}

/// An instance with its node and its checks.
pub(super) fn health(shared: &Shared, state: &State, it: &Service) -> Value {
    let checks = state.checks_of(&it.definition.id);
    let checks = checks.map(|it| check(shared, state, it));
    let checks: Vec<Value> = std::iter::once(node_check(shared)).chain(checks).collect();
    json!({ "Node": node(shared), "Service": service(it), "Checks": checks })
}

/// Every name with the tags of its instances.
pub(super) fn names(state: &State) -> Value {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for it in state.services.values() {
        let tags = names.entry(&it.definition.name).or_default();
        for tag in &it.definition.tags {
            if !tags.contains(&tag.as_str()) {
                tags.push(tag);
            }
        }
    }
    json!(names)
}
