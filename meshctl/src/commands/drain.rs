//! `meshctl drain`: takes an instance out of use by hand.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use discovery::{Discovery, Error, KvEntries, ServiceWatches, first_answer};
use serde_json::json;

use crate::output::Output;

/// How long Consul has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Give an instance no new calls. Its calls in flight go on, and a call with its ID in
/// x-mesh-instance still reaches it. Without an ID, list the instances that are drained.
///
/// It is a key of Consul's KV store (mesh/instances/ID/drain), which every router and service follows.
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
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<()> {
        let mut environment = service::config::environment();
        if let Some(address) = self.consul {
            environment.insert("CONSUL_HTTP_ADDR".to_owned(), address);
        }
        environment.insert("DISCOVERY".to_owned(), "consul".to_owned());
        let config = router::SPEC.loader().env(environment).load()?;
        let consul = service::registry(&config).context("set up Consul")?;
        let mut entries = consul.entries();
        let Some(known) = first_answer(&mut entries, PATIENCE).await else {
            match consul.last_error() {
                Some(trouble @ Error::Unreachable { .. }) => {
                    bail!("{trouble}: start it, or name it with --consul or CONSUL_HTTP_ADDR")
                }
                Some(trouble) => bail!(trouble),
                None => bail!("Consul does not answer: name it with --consul or CONSUL_HTTP_ADDR"),
            }
        };
        let Some(instance) = &self.instance else {
            return list(out, &known);
        };
        let there = is_there(&*consul, instance).await;
        let drained = known.drained().any(|id| id == instance);
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
            return Ok(out.value(&answer)?);
        }
        out.line(&match self.undo {
            true => format!("{instance} is in use again"),
            false => {
                format!("{instance} gets no new calls; `meshctl drain --undo {instance}` ends that")
            }
        })?;
        if !there {
            out.remark(&format!("Consul knows no instance {instance} at present"));
        }
        Ok(())
    }
}

fn list(out: &Output, entries: &KvEntries) -> anyhow::Result<()> {
    let drained: Vec<&str> = entries.drained().collect();
    if out.json {
        out.value(&json!({ "drained": drained }))?;
    } else if drained.is_empty() {
        out.remark("no instance is drained by hand");
    } else {
        drained.iter().try_for_each(|id| out.line(id))?;
    }
    Ok(())
}

/// Whether an instance with this ID is in the mesh.
async fn is_there(consul: &dyn Discovery, id: &str) -> bool {
    let Some(catalog) = first_answer(&mut consul.catalog(), PATIENCE).await else {
        return false;
    };
    let watches = ServiceWatches::default();
    let known = watches.snapshots(consul, &catalog, PATIENCE).await;
    let instances = known.iter().flat_map(|(_, snapshot)| snapshot);
    let mut instances = instances.flat_map(|snapshot| &snapshot.instances);
    instances.any(|instance| &*instance.key.id == id)
}
