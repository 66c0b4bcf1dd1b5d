//! The token of the environment may read what the mesh needs to.

use super::super::{
    check::Check,
    consul_view::ConsulView,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "token",
    about: "Consul's token may read services, nodes and the mesh's keys",
    run: |scene| Box::pin(async { look(scene) }),
};

/// The rights that programs need.
const POLICY: &str = "give the token's policy service_prefix \"\" and node_prefix \"\" with policy \
    = \"read\", key_prefix \"mesh/\" with \"read\", and write for the services that register; \
    another token is named by CONSUL_HTTP_TOKEN";

fn look(scene: &Scene) -> Finding {
    if let Some(why) = &scene.without_consul {
        return Finding::not_used(why);
    }
    let consul = &scene.consul;
    if !consul.answers() {
        return Finding::cannot_tell("Consul does not answer", "see the check `consul`");
    }
    let missing = missing(consul, scene);
    if missing.is_empty() {
        return Finding::well("it may read services, nodes and keys");
    }
    Finding::wrong(missing.join("; "), POLICY)
}

/// What the token lacks, a sentence each.
fn missing(consul: &ConsulView, scene: &Scene) -> Vec<String> {
    let mut missing = Vec::new();
    let nodes = match &consul.nodes {
        Err(refused) => {
            missing.push(format!(
                "node: Consul refuses the list of nodes ({refused})"
            ));
            false
        }
        Ok(0) => {
            missing.push("node: it is shown no node, so services have no instances".to_owned());
            false
        }
        Ok(_) => true,
    };
    match &consul.services {
        Err(refused) => missing.push(format!("service: Consul refuses the catalog ({refused})")),
        // Consul itself is a service, so there is always one.
        Ok(names) if names.is_empty() => {
            missing.push("service: it is shown no service".to_owned());
        }
        Ok(names) => {
            let unlisted = scene.router.1.iter().flatten();
            let unlisted =
                unlisted.filter(|it| !it.node.is_empty() && !names.contains(&it.service));
            let mut unlisted: Vec<&str> = unlisted.map(|it| &*it.service).collect();
            unlisted.dedup();
            if !unlisted.is_empty() {
                let names = some(&unlisted);
                missing.push(format!(
                    "service: it is not shown {names}, which the router knows"
                ));
            }
        }
    }
    if nodes && !consul.hidden.is_empty() {
        let names = some(&consul.hidden);
        missing.push(format!(
            "node or service: {names} is listed without any instance"
        ));
    }
    match &consul.key {
        Ok((200 | 404, _)) => {}
        Ok((status, words)) => {
            missing.push(format!("key: mesh/doctor is refused ({status}: {words})"));
        }
        Err(reason) => missing.push(format!("key: mesh/doctor cannot be asked for ({reason})")),
    }
    missing
}
