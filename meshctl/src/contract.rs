//! The methods of the contract that this program knows by name.

use anyhow::Context as _;
use clap::ValueEnum;
use dynamic::ReceivedMessages;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, Value};
use serde_json::{Value as Json, json};
use tonic::{Request, Response};

use crate::router::{self, Channel};

/// What a service can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListKind {
    Agents,
    Tools,
    Workers,
}

/// One row of the table of lists.
#[derive(Debug)]
struct Row {
    service: &'static str,
    method: &'static str,
    /// The field of the answer; with `--json` it is the key.
    field: &'static str,
    /// One of them.
    one: &'static str,
    /// The field of an entry that is its id.
    id: &'static str,
}

/// One service of the mesh, as a list tells it.
#[derive(Debug)]
pub(crate) struct ListedService {
    pub(crate) kind: ListKind,
    pub(crate) message: DynamicMessage,
}

impl ListKind {
    /// Every kind, in the order they are shown.
    pub(crate) const ALL: [Self; 3] = [Self::Agents, Self::Tools, Self::Workers];

    const fn row(self) -> Row {
        match self {
            Self::Agents => Row {
                service: "agentplatform.AgentService",
                method: "ListAgents",
                field: "agents",
                one: "agent",
                id: "agent_id",
            },
            Self::Tools => Row {
                service: "agentplatform.ToolService",
                method: "ListTools",
                field: "tools",
                one: "tool",
                id: "tool_id",
            },
            Self::Workers => Row {
                service: "agentplatform.TaskWorker",
                method: "ListWorkers",
                field: "workers",
                one: "worker",
                id: "worker_id",
            },
        }
    }

    /// `agents`, `tools` or `workers`.
    pub(crate) fn plural(self) -> &'static str {
        self.row().field
    }

    /// Asks a router for the services of this kind that have a healthy instance.
    async fn list(self, channel: &Channel, filter: &str) -> anyhow::Result<Vec<ListedService>> {
        let row = self.row();
        let asked = invoke(
            channel,
            row.service,
            row.method,
            json!({ "filter": filter }),
        );
        let mut answer = asked.await?.into_inner();
        let answer = answer.message().await?.context("the router sent no list")?;
        let answer = answer.message()?;
        let entries = answer.get_field_by_name(row.field);
        let entries = entries.as_deref().and_then(Value::as_list);
        let messages = entries.unwrap_or_default().iter();
        let listed = messages
            .filter_map(Value::as_message)
            .map(|message| ListedService {
                kind: self,
                message: message.clone(),
            });
        Ok(listed.collect())
    }
}

impl ListedService {
    pub(crate) fn id(&self) -> String {
        self.text(self.kind.row().id)
    }

    /// `agent`, `tool` or `worker`.
    pub(crate) fn kind_name(&self) -> &'static str {
        self.kind.row().one
    }

    /// A text field, empty when there is none.
    pub(crate) fn text(&self, field: &str) -> String {
        text(&self.message, field)
    }
}

/// A text field of a message, empty when there is none.
pub(crate) fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    let text = value.as_deref().and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// The services of some kinds that pass a filter.
pub(crate) async fn list(
    channel: &Channel,
    kinds: &[ListKind],
    filter: &str,
) -> anyhow::Result<Vec<ListedService>> {
    let mut entries = Vec::new();
    for kind in kinds {
        entries.extend(kind.list(channel, filter).await?);
    }
    Ok(entries)
}

/// Calls a method of the contract: the instance that answered, where one did, and its messages.
pub(crate) async fn call(
    channel: &Channel,
    service: &str,
    method: &str,
    message: Json,
) -> anyhow::Result<(Option<String>, Vec<Json>)> {
    let answer = invoke(channel, service, method, message).await?;
    let instance = router::instance(answer.metadata()).map(str::to_owned);
    let (mut answer, mut messages) = (answer.into_inner(), Vec::new());
    while let Some(message) = answer.message().await? {
        messages.push(message.to_json());
    }
    Ok((instance, messages))
}

async fn invoke(
    channel: &Channel,
    service: &str,
    name: &str,
    message: Json,
) -> anyhow::Result<Response<ReceivedMessages>> {
    let method = method(service, name)?;
    let message = dynamic::from_json(&method.input(), message)?;
    let request = Request::new(tokio_stream::once(message));
    Ok(dynamic::invoke(channel.clone(), &method, request, router::LARGEST).await?)
}

fn method(service: &str, method: &str) -> anyhow::Result<MethodDescriptor> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS)?;
    let service = pool.get_service_by_name(service);
    let method = service.and_then(|service| service.methods().find(|it| it.name() == method));
    method.context("the contract built into meshctl lacks a method")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_in_the_contract() {
        for kind in ListKind::ALL {
            let row = kind.row();
            let method = method(row.service, row.method).unwrap();
            let list = method.output().get_field_by_name(row.field).unwrap();
            let entry = list.kind().as_message().unwrap().clone();
            for field in [row.id, "version", "endpoint", "description"] {
                assert!(entry.get_field_by_name(field).is_some(), "{kind:?} {field}");
            }
        }
    }
}
