//! `meshctl list`: the services of the mesh, and their instances.

use std::process::ExitCode;

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
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
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
            out.value(&lists)?;
            return Ok(ExitCode::SUCCESS);
        }
        if entries.is_empty() {
            out.remark(&match self.filter.as_str() {
                "" => "nobody is there and healthy".to_owned(),
                filter => format!("nobody that is healthy has the tag or id {filter:?}"),
            });
        }
        let rows: Vec<_> = entries
            .iter()
            .map(|entry| {
                let text = |field| entry.text(field);
                let kind = entry.kind_name().to_owned();
                let id = entry.id();
                let count = instances::count(&known, &id);
                [
                    kind,
                    id,
                    count,
                    text("version"),
                    text("endpoint"),
                    text("description"),
                ]
            })
            .collect();
        let heading = [
            "KIND",
            "ID",
            "HEALTHY",
            "VERSION",
            "ENDPOINT",
            "DESCRIPTION",
        ];
        out.table(heading, &rows)?;
        if all {
            instances::table(out, &known)?;
        }
        Ok(ExitCode::SUCCESS)
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
