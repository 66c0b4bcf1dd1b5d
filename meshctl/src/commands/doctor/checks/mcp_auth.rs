//! Not everybody may call every tool.

use std::net::IpAddr;

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "mcp-auth",
    about: "no gateway lets callers from elsewhere use /mcp without a token",
    run: |scene| Box::pin(async { look(scene) }),
};

fn look(scene: &Scene) -> Finding {
    let (mut open, mut told) = (Vec::new(), 0);
    for program in &scene.programs {
        let Some(auth) = program.key("mcp_auth") else {
            continue;
        };
        told += 1;
        let at = program.key("listen_address").unwrap_or_default();
        let is_local = at
            .parse()
            .map_or(at == "localhost", |it: IpAddr| it.is_loopback());
        if auth == "none" && !is_local {
            open.push(format!("{} on {at}", program.name()));
        }
    }
    match (open.as_slice(), told) {
        ([], 0) => Finding::not_used("no gateway is known, or none tells its /config from here"),
        ([], told) => Finding::well(format!(
            "{told} gateways ask for a token, or serve this machine only"
        )),
        (open, _) => Finding::warning(
            format!(
                "whoever reaches the port may call every tool: {}",
                some(open)
            ),
            "set MCP_AUTH to token or jwt, or LISTEN_ADDRESS to 127.0.0.1",
        ),
    }
}
