//! The instances of the mesh, as a router tells them.

use proto::mesh::v1::{
    Health, Instance, ListInstancesRequest, ListInstancesResponse, State,
    mesh_service_client::MeshServiceClient,
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{output::Output, router::Channel};

/// Every instance, or those of one service; none from a router that is too old to tell.
pub(crate) async fn list(channel: &Channel, service: &str) -> Result<Vec<Instance>, Status> {
    Ok(ask(channel, service).await?.instances)
}

/// Every instance, and every router; none from a router that is too old to tell.
pub(crate) async fn all(channel: &Channel) -> Result<ListInstancesResponse, Status> {
    ask(channel, "").await
}

async fn ask(channel: &Channel, service: &str) -> Result<ListInstancesResponse, Status> {
    let service = service.to_owned();
    let asked = MeshServiceClient::new(channel.clone())
        .max_decoding_message_size(crate::router::LARGEST)
        .list_instances(ListInstancesRequest { service })
        .await;
    match asked {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) if status.code() == Code::Unimplemented => Ok(ListInstancesResponse::default()),
        Err(status) => Err(status),
    }
}

/// As programs read it.
pub(crate) fn value(instances: &[Instance]) -> Value {
    let one = |instance: &Instance| {
        json!({
            "id": instance.id,
            "service": instance.service,
            "public_id": instance.public_id,
            "kind": instance.kind,
            "address": instance.address,
            "node": instance.node,
            "version": instance.version,
            "health": health(instance),
            "drained": instance.drained,
            "state": state(instance),
            "reason": instance.reason,
            "calls_in_flight": instance.calls_in_flight,
            "weight": instance.weight,
        })
    };
    instances.iter().map(one).collect()
}

/// A table for people, under an empty line; nothing without instances.
pub(crate) fn table(out: &Output, instances: &[Instance]) -> anyhow::Result<()> {
    let row = |instance: &Instance| {
        [
            instance.id.clone(),
            instance.service.clone(),
            instance.address.clone(),
            instance.version.clone(),
            health(instance).to_owned(),
            instance.calls_in_flight.to_string(),
            note(instance),
        ]
    };
    let rows: Vec<_> = instances.iter().map(row).collect();
    if !rows.is_empty() {
        out.line("")?;
    }
    let heading = [
        "INSTANCE", "SERVICE", "ADDRESS", "VERSION", "HEALTH", "CALLS", "NOTE",
    ];
    Ok(out.table(heading, &rows)?)
}

/// `healthy of all`, such as `2/3`.
pub(crate) fn count(instances: &[Instance], public_id: &str) -> String {
    let of = || instances.iter().filter(|it| it.public_id == public_id);
    let healthy = of().filter(|it| it.health() != Health::Critical).count();
    format!("{healthy}/{}", of().count())
}

fn health(instance: &Instance) -> &'static str {
    match instance.health() {
        Health::Passing => "passing",
        Health::Warning => "warning",
        Health::Critical => "critical",
        Health::Unspecified => "unknown",
    }
}

fn state(instance: &Instance) -> &'static str {
    match instance.state() {
        State::Ok => "ok",
        State::Ejected => "ejected",
        State::Unreachable => "unreachable",
        State::Unspecified => "unknown",
    }
}

/// Why it gets no calls, or fewer.
fn note(instance: &Instance) -> String {
    let mut notes = Vec::new();
    if instance.drained {
        notes.push("drained".to_owned());
    }
    match (instance.state(), instance.reason.as_str()) {
        (State::Ok | State::Unspecified, _) => {}
        (_, "") => notes.push(state(instance).to_owned()),
        (_, reason) => notes.push(format!("{}: {reason}", state(instance))),
    }
    notes.join(", ")
}
