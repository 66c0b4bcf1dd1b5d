//! No instance is critical.

use std::collections::BTreeMap;

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "instances",
    about: "no instance is critical, every service has a healthy one",
    run: |scene| Box::pin(async { look(scene) }),
};

fn look(scene: &Scene) -> Finding {
    let mut services: BTreeMap<&str, (usize, Vec<&str>)> = BTreeMap::new();
    for member in &scene.members {
        let (healthy, critical) = services.entry(&member.service).or_default();
        match member.healthy {
            true => *healthy += 1,
            false => critical.push(&member.id),
        }
    }
    if services.is_empty() {
        return match scene.router.1 {
            Ok(_) => Finding::warning("the mesh has no instance", "start a service"),
            Err(_) => Finding::cannot_tell(
                "neither a router nor Consul tells of instances",
                "see the checks `router`, `consul` and `token`",
            ),
        };
    }
    let dead = services.iter().filter(|(_, (healthy, _))| *healthy == 0);
    let dead: Vec<&str> = dead.map(|(name, _)| *name).collect();
    let critical: Vec<&str> = services
        .values()
        .flat_map(|it| it.1.iter().copied())
        .collect();
    let advice =
        "look at their logs and /readyz; `make consul-cleanup` removes what is gone for good";
    if !dead.is_empty() {
        let (names, ids) = (some(&dead), some(&critical));
        return Finding::wrong(
            format!("no healthy instance of {names}; critical: {ids}"),
            advice,
        );
    }
    if !critical.is_empty() {
        let ids = some(&critical);
        return Finding::warning(
            format!("critical: {ids}; others of their services serve"),
            advice,
        );
    }
    let (count, of) = (scene.members.len(), services.len());
    Finding::well(format!("{count} instances of {of} services are healthy"))
}
