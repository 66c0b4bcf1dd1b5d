//! Redis evicts nothing.

use super::{
    super::{check::Check, finding::Finding, scene::Scene},
    redis,
};

pub(super) const CHECK: Check = Check {
    code: "redis-eviction",
    about: "Redis evicts no jobs when its memory is full, and has room",
    run: |scene| Box::pin(look(scene)),
};

/// The share of its memory at which Redis counts as nearly full.
const FULL: f64 = 0.9;

async fn look(scene: &Scene) -> Finding {
    let probe = match redis::probe_for(scene).await {
        Ok(probe) => probe,
        Err(unseen) => return unseen,
    };
    let number = |name: &str| {
        let values = probe
            .servers
            .iter()
            .filter_map(|it| it.get(name)?.parse::<f64>().ok());
        values.fold(0.0, f64::max)
    };
    let policies = probe
        .servers
        .iter()
        .filter_map(|it| it.get("maxmemory_policy"));
    let Some(policy) = policies
        .clone()
        .find(|it| *it != "noeviction")
        .or(policies.clone().next())
    else {
        return Finding::cannot_tell(
            "INFO tells no maxmemory_policy",
            "let its user ask for INFO",
        );
    };
    let evicted = number("evicted_keys");
    let limit = number("maxmemory");
    if policy != "noeviction" {
        return Finding::wrong(
            format!("maxmemory-policy is {policy}, {evicted} keys were evicted"),
            "set maxmemory-policy noeviction, and keep caches in another Redis",
        );
    }
    let full = probe.servers.iter().any(|server| {
        let of = |name: &str| server.get(name).and_then(|it| it.parse::<f64>().ok());
        let (used, limit) = (of("used_memory"), of("maxmemory"));
        matches!((used, limit), (Some(used), Some(limit)) if limit > 0.0 && used > limit * FULL)
    });
    if full {
        return Finding::wrong(
            format!("over 90 % of maxmemory ({limit} bytes) is used"),
            "raise maxmemory or shorten JOBS_RESULT_TTL: a full Redis takes no job",
        );
    }
    Finding::well("maxmemory-policy is noeviction")
}
