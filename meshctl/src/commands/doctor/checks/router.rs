//! A router answers.

use super::super::{check::Check, finding::Finding, scene::Scene};

pub(super) const CHECK: Check = Check {
    code: "router",
    about: "the router answers and knows the mesh",
    run: |scene| Box::pin(async { look(scene) }),
};

fn look(scene: &Scene) -> Finding {
    let (address, told) = &scene.router;
    match told {
        Err(reason) => Finding::wrong(
            reason,
            "start it, or name another with --router or MCP_ROUTER_ADDR; its /readyz says what it waits for",
        ),
        Ok(members) => {
            let routers = members.iter().filter(|member| member.router).count();
            let others = members.len() - routers;
            Finding::well(format!(
                "{address} knows {others} instances behind the routers, of whom there are {routers}"
            ))
        }
    }
}
