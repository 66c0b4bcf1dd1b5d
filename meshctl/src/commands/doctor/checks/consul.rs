//! Consul answers and has a leader.

use super::super::{check::Check, finding::Finding, scene::Scene};

pub(super) const CHECK: Check = Check {
    code: "consul",
    about: "Consul answers and has a leader",
    run: |scene| Box::pin(async { look(scene) }),
};

fn look(scene: &Scene) -> Finding {
    if let Some(why) = &scene.without_consul {
        return Finding::not_used(why);
    }
    let address = scene.consul.reader.address();
    match &scene.consul.leader {
        Err(reason) => Finding::wrong(
            format!("no Consul answers at {address}: {reason}"),
            "start it, or name another with --consul or CONSUL_HTTP_ADDR; the mesh goes on with \
             what it knows, and notices no change",
        ),
        Ok(leader) if leader.is_empty() => Finding::wrong(
            format!("the Consul at {address} has no leader"),
            "bring back a majority of its servers: `consul operator raft list-peers` lists them",
        ),
        Ok(leader) => Finding::well(format!("{address} answers, its leader is {leader}")),
    }
}
