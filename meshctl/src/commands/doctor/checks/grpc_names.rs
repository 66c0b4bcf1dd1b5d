//! Every gRPC service is announced under one name.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "grpc-names",
    about: "no two services announce the same gRPC service",
    run: |scene| Box::pin(async { look(scene) }),
};

/// What every agent, tool or worker serves: their calls name the service by its id.
const SHARED: &str = "agentplatform.";

fn look(scene: &Scene) -> Finding {
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for member in scene.members.iter().filter(|it| it.healthy && !it.router) {
        for name in member
            .grpc_services
            .iter()
            .filter(|it| !it.starts_with(SHARED))
        {
            names.entry(name).or_default().insert(&member.service);
        }
    }
    let twice = names.iter().filter(|(_, services)| services.len() > 1);
    let twice: Vec<String> = twice
        .map(|(name, services)| {
            let services: Vec<&str> = services.iter().copied().collect();
            format!("{name} by {}", some(&services))
        })
        .collect();
    if scene.members.is_empty() {
        return Finding::cannot_tell("no instance is known", "see the check `instances`");
    }
    if twice.is_empty() {
        return Finding::well(format!("{} gRPC services have one name each", names.len()));
    }
    Finding::wrong(
        format!("announced twice: {}", some(&twice)),
        "calls without x-mesh-service are refused: register the instances of one service under one \
         name, or let callers name the service",
    )
}
