//! Every healthy instance can be reached from here.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::{net::TcpStream, time::timeout};

use super::super::{
    check::Check,
    finding::{Finding, some},
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "reachable",
    about: "every healthy instance can be reached from here",
    run: |scene| Box::pin(look(scene)),
};

const CONNECT: Duration = Duration::from_secs(2);
const AT_ONCE: usize = 64;

async fn look(scene: &Scene) -> Finding {
    let healthy = scene.members.iter().filter(|member| member.healthy);
    let tried = healthy.map(|member| {
        let (id, address) = (member.id.clone(), member.address.clone());
        async move {
            match timeout(CONNECT, TcpStream::connect(&address)).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(format!("{id} at {address}: {error}")),
                Err(_) => Some(format!("{id} at {address}: no answer within {CONNECT:?}")),
            }
        }
    });
    let tried: Vec<_> = tried.collect();
    let count = tried.len();
    let failed: Vec<Option<String>> = stream::iter(tried).buffered(AT_ONCE).collect().await;
    let failed: Vec<String> = failed.into_iter().flatten().collect();
    if count == 0 {
        return Finding::cannot_tell("no healthy instance is known", "see the check `instances`");
    }
    if failed.is_empty() {
        return Finding::well(format!("{count} instances take connections from here"));
    }
    Finding::wrong(
        format!("{} of {count} take none: {}", failed.len(), some(&failed)),
        "they announce addresses that do not lead to them: set SERVICE_HOST, open the firewall, or \
         run this where the routers run",
    )
}
