//! Redis writes what it takes to its disk.

use super::{
    super::{check::Check, finding::Finding, scene::Scene},
    redis,
};

pub(super) const CHECK: Check = Check {
    code: "redis-aof",
    about: "Redis keeps jobs over a restart",
    run: |scene| Box::pin(look(scene)),
};

async fn look(scene: &Scene) -> Finding {
    let probe = match redis::probe_for(scene).await {
        Ok(probe) => probe,
        Err(unseen) => return unseen,
    };
    let values = |name: &str| -> Vec<String> {
        let found = probe.servers.iter().filter_map(|it| it.get(name).cloned());
        found.collect()
    };
    let enabled = values("aof_enabled");
    if enabled.is_empty() {
        return Finding::cannot_tell("INFO tells no aof_enabled", "let its user ask for INFO");
    }
    if enabled.iter().any(|it| it != "1") {
        return Finding::warning(
            "appendonly is off: a restart loses the jobs since the last snapshot",
            "set appendonly yes, and appendfsync everysec or always",
        );
    }
    for name in ["aof_last_write_status", "aof_last_bgrewrite_status"] {
        if let Some(status) = values(name).into_iter().find(|it| it != "ok") {
            return Finding::wrong(
                format!("{name} is {status}"),
                "make room on its disk: its log says more",
            );
        }
    }
    Finding::well("appendonly is on")
}
