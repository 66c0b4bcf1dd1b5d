//! `meshctl list`: the services of the mesh, and their instances.

use clap::Args;
use serde_json::{Map, Value};

use crate::{
    contract::{self, ListKind, ListedService},
    instances,
    output::Output,
    router::RouterArgs,
};

/// List the agents, tools and workers that have a healthy instance, and every instance.
///
/// With a kind or a filter only services are listed; `meshctl status ID` shows one service's
/// instances.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only this kind
    #[arg(value_enum)]
    kind: Option<ListKind>,

    /// An exact tag or id, whatever its case
    #[arg(
        long,
        value_name = "WORD",
        default_value = "",
        hide_default_value = true
    )]
    filter: String,

    #[command(flatten)]
    router: RouterArgs,
}

impl List {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<()> {
        let kinds = self.kind.map_or(ListKind::ALL.to_vec(), |kind| vec![kind]);
        let channel = self.router.connect().await?;
        let entries = contract::list(&channel, &kinds, &self.filter).await?;
        let known = instances::list(&channel, "").await?;
        let all = self.kind.is_none() && self.filter.is_empty();
        if out.json {
            let mut lists = by_kind(&kinds, &entries);
            if all {
                lists["instances"] = instances::value(&known);
            }
            return Ok(out.value(&lists)?);
        }
        if entries.is_empty() {
            out.remark(&match self.filter.as_str() {
                "" => "no service has a healthy instance".to_owned(),
                filter => {
                    format!("no service with a healthy instance has the tag or id {filter:?}")
                }
            });
        }
        let rows = entries.iter().map(|entry| {
            let (kind, id) = (entry.kind_name().to_owned(), entry.id());
            let count = instances::count(&known, &id);
            let [version, endpoint, about] =
                ["version", "endpoint", "description"].map(|field| entry.text(field));
            [kind, id, count, version, endpoint, about]
        });
        let heading = [
            "KIND",
            "ID",
            "HEALTHY",
            "VERSION",
            "ENDPOINT",
            "DESCRIPTION",
        ];
        out.table(heading, &rows.collect::<Vec<_>>())?;
        if all {
            instances::table(out, &known)?;
        }
        Ok(())
    }
}

fn by_kind(kinds: &[ListKind], entries: &[ListedService]) -> Value {
    let mut lists = Map::new();
    for kind in kinds {
        let of_kind = entries.iter().filter(|entry| entry.kind == *kind);
        let list: Vec<Value> = of_kind
            .map(|entry| dynamic::to_json(&entry.message))
            .collect();
        lists.insert(kind.plural().to_owned(), list.into());
    }
    lists.into()
}
