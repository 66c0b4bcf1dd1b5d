//! The instances of a service have one version.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "versions",
    about: "the instances of a service have one version",
    run: |scene| Box::pin(async { look(scene) }),
};

fn look(scene: &Scene) -> Finding {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for member in scene
        .members
        .iter()
        .filter(|it| it.healthy && !it.version.is_empty())
    {
        versions
            .entry(&member.service)
            .or_default()
            .insert(&member.version);
    }
    let mixed = versions.iter().filter(|(_, them)| them.len() > 1);
    let mixed: Vec<String> = mixed
        .map(|(service, them)| {
            let them: Vec<&str> = them.iter().copied().collect();
            format!("{service} {}", some(&them))
        })
        .collect();
    if versions.is_empty() {
        return Finding::cannot_tell("no instance tells its version", "see the check `instances`");
    }
    if mixed.is_empty() {
        return Finding::well(format!("{} services have one version each", versions.len()));
    }
    Finding::warning(
        format!("mixed: {}", some(&mixed)),
        "finish the rollout, or take back the newer version",
    )
}
