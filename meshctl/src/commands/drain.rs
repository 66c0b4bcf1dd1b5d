//! `meshctl drain`: takes an instance out of use by hand.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use discovery::{Discovery, KvEntries};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::timeout;

use crate::output::Output;

/// How long Consul has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Give an instance no new calls; those it has go on, and a call with its ID in x-mesh-instance
/// still reaches it. Without an ID, list the instances that are drained.
///
/// Written into Consul's KV store (mesh/instances/ID/drain), which every router and service follows.
#[derive(Args, Debug)]
pub(crate) struct Drain {
    /// The instance, as Consul and x-mesh-instance name it
    instance: Option<String>,

    /// Put it into use again
    #[arg(long, requires = "instance")]
    undo: bool,

    /// Consul's address; by default that of CONSUL_HTTP_ADDR, else 127.0.0.1:8500
    #[arg(long, value_name = "ADDR")]
    consul: Option<String>,
}

impl Drain {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let mut environment = service::config::environment();
        if let Some(address) = self.consul {
            environment.insert("CONSUL_HTTP_ADDR".to_owned(), address);
        }
        environment.insert("DISCOVERY".to_owned(), "consul".to_owned());
        let config = router::SPEC.loader().env(environment).load()?;
        let consul = service::registry(&config).context("set up Consul")?;
        let mut entries = consul.entries();
        let known = timeout(PATIENCE, entries.wait_for(Option::is_some)).await;
        let Ok(Ok(known)) = known.map(|known| known.map(|known| known.clone())) else {
            match consul.last_error() {
                Some(trouble) if trouble.contains("cannot be reached") => {
                    bail!("{trouble}: start it, or name it with --consul or CONSUL_HTTP_ADDR")
                }
                Some(trouble) => bail!("{trouble}"),
                None => bail!("Consul does not answer: name it with --consul or CONSUL_HTTP_ADDR"),
            }
        };
        let Some(instance) = &self.instance else {
            return list(out, &known.unwrap_or_default());
        };
        let there = is_there(&*consul, instance).await;
        let drained = known
            .as_deref()
            .is_some_and(|it| it.drained().any(|id| id == instance));
        if !there && !drained {
            bail!(
                "Consul knows no instance {instance:?}, so nothing is changed: `meshctl list` names \
                 the instances"
            );
        }
        let key = KvEntries::drain_key(instance);
        let value = (!self.undo).then_some("true");
        consul.write(&key, value).await.context("write to Consul")?;
        if out.json {
            let answer = json!({ "instance": instance, "drained": !self.undo, "there": there });
            out.value(&answer)?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.undo {
            out.line(&format!("{instance} is in use again"))?;
        } else {
            out.line(&format!(
                "{instance} gets no new calls; `meshctl drain --undo {instance}` ends that"
            ))?;
        }
        if !there {
            out.remark(&format!("Consul knows no instance {instance} at present"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(out: &Output, entries: &KvEntries) -> anyhow::Result<ExitCode> {
    let drained: Vec<&str> = entries.drained().collect();
    if out.json {
        out.value(&json!({ "drained": drained }))?;
    } else if drained.is_empty() {
        out.remark("no instance is drained by hand");
    } else {
        drained.iter().try_for_each(|id| out.line(id))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether an instance with this ID is in the mesh.
async fn is_there(consul: &dyn Discovery, id: &str) -> bool {
    let mut catalog = consul.catalog();
    let known = timeout(PATIENCE, catalog.wait_for(Option::is_some)).await;
    let Ok(Ok(known)) = known.map(|known| known.map(|known| known.clone())) else {
        return false;
    };
    let names = known.iter().flat_map(|catalog| catalog.services.keys());
    let looks = names.map(|name| async move {
        let mut service = consul.watch(name);
        let known = timeout(PATIENCE, service.wait_for(Option::is_some)).await;
        let Ok(Ok(snapshot)) = known else {
            return false;
        };
        let mut instances = snapshot.iter().flat_map(|it| &it.instances);
        instances.any(|instance| &*instance.key.id == id)
    });
    join_all(looks).await.contains(&true)
}
