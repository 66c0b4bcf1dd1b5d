//! `GetStatus` and `GetTaskStatus`: asked of one instance, or put together from several.

use std::sync::Arc;

use channel::Mesh;
use directory::{DirectorySnapshot, QUERY_TIMEOUT};
use discovery::{Instance, InstanceKey, ServiceKind};
use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use http::{HeaderMap, HeaderValue};
use proto::agentplatform::{
    StatusRequest, StatusResponse, TaskStatusRequest, TaskStatusResponse,
    agent_service_client::AgentServiceClient, task_worker_client::TaskWorkerClient,
};
use proto::error_info::{self, Reason};
use tokio::time::{Instant, timeout};
use tonic::{Code, Response, Status, metadata::MetadataMap};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    routing::request::INSTANCE,
    tasks::{Recipient, TaskLocations},
};

const HEALTHY: &str = "healthy";
const UNKNOWN: &str = "unknown";

/// The status of a service, all its healthy instances together, or of one instance by its ID.
/// Instances that say nothing for a second are left out.
///
/// # Errors
/// `INVALID_ARGUMENT` without an id, `NOT_FOUND` when it names nobody, `UNAVAILABLE` when nobody is
/// healthy, and what the instances say when none of them answers.
pub(crate) async fn of_service(
    mesh: &Mesh,
    snapshot: &DirectorySnapshot,
    id: &str,
) -> Result<Response<StatusResponse>, Status> {
    if id.is_empty() {
        return Err(missing("agent_id"));
    }
    // Consul calls an instance without an ID by its service's name: the service is meant then.
    let (service, asked) = match (snapshot.by_id(id), snapshot.by_instance(id)) {
        (Some(service), _) => (service, service.serving().cloned().collect()),
        (None, Some((service, instance))) => (service, vec![Arc::clone(instance)]),
        (None, None) => return Err(not_found(id)),
    };
    let asked: Vec<Arc<Instance>> = asked;
    if !asked.iter().any(|instance| instance.is_serving()) {
        return Err(unavailable(id));
    }
    let answers = asked.iter().map(|instance| async move {
        let channel = mesh.channel(&service.name).instance(&instance.key.id);
        let request = StatusRequest {
            agent_id: service.public_id.clone(),
        };
        let answer = timeout(
            QUERY_TIMEOUT,
            AgentServiceClient::new(channel).get_status(request),
        )
        .await;
        answer
            .unwrap_or_else(|_| Err(silent(instance)))
            .map(|answer| (instance, answer.into_inner()))
    });
    let (mut answered, mut error) = (Vec::new(), None);
    for answer in join_all(answers).await {
        match answer {
            Ok(answer) => answered.push(answer),
            Err(status) => error = error.or(Some(status)),
        }
    }
    let is_instance = snapshot.by_id(id).is_none();
    let name = if is_instance {
        id.to_owned()
    } else {
        service.public_id.clone()
    };
    match answered.as_slice() {
        [] => Err(error.unwrap_or_else(|| unavailable(id))),
        [(instance, status)] => Ok(answered_by(
            instance.key.id.as_ref(),
            StatusResponse {
                agent_id: name,
                ..status.clone()
            },
        )),
        several => Ok(Response::new(total(
            name,
            several.iter().map(|(_, status)| status),
        ))),
    }
}

fn total<'a>(
    agent_id: String,
    statuses: impl Iterator<Item = &'a StatusResponse> + Clone,
) -> StatusResponse {
    let unwell = statuses
        .clone()
        .find(|status| !status.status.eq_ignore_ascii_case(HEALTHY));
    StatusResponse {
        agent_id,
        status: unwell.map_or(HEALTHY, |status| &status.status).to_owned(),
        active_tasks: statuses
            .clone()
            .fold(0, |sum, it| sum.saturating_add(it.active_tasks)),
        uptime_seconds: statuses
            .map(|status| status.uptime_seconds)
            .max()
            .unwrap_or(0),
    }
}

/// The status of a task: from the instance it was sent to, else from the first healthy worker that
/// knows it. Of many workers some are asked, and others the next time. The outcome is remembered.
///
/// # Errors
/// `INVALID_ARGUMENT` without an id.
pub(crate) async fn of_task(
    mesh: &Mesh,
    snapshot: &DirectorySnapshot,
    tasks: &TaskLocations,
    task_id: &str,
) -> Result<Response<TaskStatusResponse>, Status> {
    if task_id.is_empty() {
        return Err(missing("task_id"));
    }
    let sent_to = tasks.recipient(task_id, Instant::now());
    if let Some(recipient) = &sent_to
        && let Some(answer) = ask(mesh, recipient, task_id).await
    {
        return Ok(answer);
    }
    let workers: Vec<Recipient> = snapshot
        .services()
        .filter(|service| service.kind == ServiceKind::Worker)
        .flat_map(|service| service.serving())
        .map(|it| Recipient {
            service: Arc::clone(&it.service),
            instance: it.key.clone(),
        })
        .filter(|recipient| Some(recipient) != sent_to.as_ref())
        .collect();
    let these = fingerprint(&workers);
    let _place = tasks.search().await;
    if !tasks.is_unknown(task_id, these, Instant::now()) {
        let start = rand::random_range(0..workers.len().max(1));
        let asked = workers.iter().cycle().skip(start);
        let asked = asked.take(tasks.workers().min(workers.len()));
        let mut answers: FuturesUnordered<_> = asked
            .map(|it| async move { (it, ask(mesh, it, task_id).await) })
            .collect();
        while let Some((knows, answer)) = answers.next().await {
            if let Some(answer) = answer {
                let Recipient { service, instance } = knows;
                tasks.record(task_id, service, instance, Instant::now());
                return Ok(answer);
            }
        }
        tasks.mark_unknown(task_id, these, Instant::now());
    }
    Ok(Response::new(TaskStatusResponse {
        task_id: task_id.to_owned(),
        status: UNKNOWN.to_owned(),
        ..TaskStatusResponse::default()
    }))
}

/// A hash of these workers.
fn fingerprint(workers: &[Recipient]) -> u64 {
    let mut hash = Xxh3::new();
    for InstanceKey { id, node } in workers.iter().map(|worker| &worker.instance) {
        for part in [id, node] {
            hash.update(part.as_bytes());
            hash.update(&[0]);
        }
    }
    hash.digest()
}

/// What one instance knows of a task; `None` when it does not know it, or does not answer.
async fn ask(
    mesh: &Mesh,
    recipient: &Recipient,
    task_id: &str,
) -> Option<Response<TaskStatusResponse>> {
    let id = &recipient.instance.id;
    let channel = mesh.channel(&recipient.service).instance(id);
    let mut client = TaskWorkerClient::new(channel);
    let request = TaskStatusRequest {
        task_id: task_id.to_owned(),
    };
    let answer = timeout(QUERY_TIMEOUT, client.get_task_status(request)).await;
    let answer = answer.ok()?.ok()?.into_inner();
    let knows = !answer.status.is_empty() && !answer.status.eq_ignore_ascii_case(UNKNOWN);
    knows.then(|| answered_by(id, answer))
}

fn answered_by<T>(instance: &str, answer: T) -> Response<T> {
    let mut response = Response::new(answer);
    // An ID that no header can carry is left out.
    if let Ok(instance) = HeaderValue::from_str(instance) {
        let headers = HeaderMap::from_iter([(INSTANCE, instance)]);
        *response.metadata_mut() = MetadataMap::from_headers(headers);
    }
    response
}

fn missing(field: &str) -> Status {
    let message = format!("{field} is missing: name whom it is about");
    let facts = [("field", field.to_owned())];
    error_info::status(Code::InvalidArgument, Reason::MissingField, message, facts)
}

fn not_found(id: &str) -> Status {
    let message = format!("no service or instance is called {id:?}");
    let facts = [("id", id.to_owned())];
    error_info::status(Code::NotFound, Reason::NoSuchService, message, facts)
}

fn unavailable(id: &str) -> Status {
    let message = format!("{id:?} has no healthy instance");
    let facts = [("id", id.to_owned())];
    error_info::status(Code::Unavailable, Reason::NoHealthyInstance, message, facts)
}

fn silent(instance: &Instance) -> Status {
    let id = instance.key.id.to_string();
    let message = format!("instance {id:?} did not answer within {QUERY_TIMEOUT:?}");
    error_info::status(
        Code::Unavailable,
        Reason::SilentInstance,
        message,
        [("instance", id)],
    )
}
