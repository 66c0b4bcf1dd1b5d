//! Redis answers.

use std::{path::PathBuf, time::Duration};

use jobs::RedisProbe;

use super::super::{check::Check, finding::Finding, scene::Scene};

pub(super) const CHECK: Check = Check {
    code: "redis",
    about: "the Redis that keeps jobs answers",
    run: |scene| Box::pin(look(scene)),
};

/// How long Redis may take.
const LIMIT: Duration = Duration::from_secs(3);

async fn look(scene: &Scene) -> Finding {
    match probe(scene).await {
        Ok(probe) => Finding::well(format!("{} answers in {:.1?}", probe.address, probe.took)),
        Err(unseen) => unseen,
    }
}

/// What the Redis of the mesh says, or why nothing is known of it.
pub(super) async fn probe(scene: &Scene) -> Result<RedisProbe, Finding> {
    let address = match scene.queue() {
        Err(error) => {
            let (seen, todo) = (
                format!("{error:#}"),
                "correct the environment of this command",
            );
            return Err(Finding::wrong(seen, todo));
        }
        Ok(None) => {
            return Err(Finding::not_used(
                "no program that is known works with jobs",
            ));
        }
        Ok(Some(address)) => address,
    };
    if let Some(folder) = address.strip_prefix("file://") {
        return Err(Finding::not_used(format!("jobs are kept in {folder}")));
    }
    if address == "(secret)" {
        let seen = "the programs do not tell redis_url, since it may hold a password";
        return Err(Finding::cannot_tell(seen, "set REDIS_URL here as for them"));
    }
    let authority = scene.environment.get("REDIS_CACERT").map(PathBuf::from);
    let authority = authority.filter(|path| !path.as_os_str().is_empty());
    let asked = jobs::probe_redis(&address, authority.as_deref(), LIMIT).await;
    asked.map_err(|reason| {
        Finding::wrong(
            format!("{address}: {reason}"),
            "start it, or correct REDIS_URL: jobs wait meanwhile, and none can be handed in",
        )
    })
}

/// The same for a check that needs an answer to say anything.
pub(super) async fn probe_for(scene: &Scene) -> Result<RedisProbe, Finding> {
    use super::super::finding::Verdict;
    probe(scene).await.map_err(|unseen| match unseen.verdict {
        Verdict::Wrong => Finding::cannot_tell("Redis does not answer", "see the check `redis`"),
        _ => unseen,
    })
}
