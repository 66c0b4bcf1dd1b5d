//! `GET /sd/prometheus`: where each instance of the mesh serves its metrics, as
//! [HTTP SD](https://prometheus.io/docs/prometheus/latest/http_sd/) of Prometheus reads it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use discovery::{Discovery, Instance, Snapshot, authority};
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use service::answers::{self, Answer};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

/// How long an answer waits for the registry.
const PATIENCE: Duration = Duration::from_secs(2);

/// Follows the instances of all programs of the mesh, those that no call is routed to among them,
/// from the first request on.
#[derive(Debug)]
pub(crate) struct ScrapeTargets {
    discovery: Arc<dyn Discovery>,
    watched: Mutex<BTreeMap<Arc<str>, Receiver>>,
}

type Receiver = watch::Receiver<Option<Arc<Snapshot>>>;

impl ScrapeTargets {
    pub(crate) fn new(discovery: Arc<dyn Discovery>) -> Self {
        Self {
            discovery,
            watched: Mutex::default(),
        }
    }

    /// The targets as JSON. Unhealthy instances are among them: Prometheus shows that they are there.
    pub(crate) async fn answer(&self) -> Answer {
        let until = Instant::now() + PATIENCE;
        let mut catalog = self.discovery.catalog();
        let known = timeout_at(until, catalog.wait_for(Option::is_some)).await;
        let Some(catalog) = known.ok().and_then(|known| known.ok()?.clone()) else {
            let words = "the registry has not said which services there are";
            return answers::text(StatusCode::SERVICE_UNAVAILABLE, words);
        };
        let names = catalog.services.keys().chain(&catalog.programs);
        let mut targets = Vec::new();
        for mut receiver in self.watch(names) {
            // One that is not known yet is in the next answer.
            let Ok(Ok(snapshot)) = timeout_at(until, receiver.wait_for(Option::is_some)).await
            else {
                continue;
            };
            let instances = snapshot.iter().flat_map(|snapshot| &snapshot.instances);
            targets.extend(instances.filter_map(|instance| target(instance)));
        }
        answers::json(StatusCode::OK, &Value::Array(targets))
    }

    fn watch<'a>(&self, names: impl Iterator<Item = &'a Arc<str>>) -> Vec<Receiver> {
        let mut watched = self.watched.lock();
        let mut before = std::mem::take(&mut *watched);
        for name in names {
            let receiver = before.remove(name);
            let receiver = receiver.unwrap_or_else(|| self.discovery.watch(name));
            watched.insert(Arc::clone(name), receiver);
        }
        watched.values().cloned().collect()
    }
}

/// `None` for an instance that does not say where its metrics are.
fn target(instance: &Instance) -> Option<Value> {
    let port: u16 = instance.meta.get("admin_port")?.parse().ok()?;
    Some(json!({
        "targets": [authority(&instance.host, port)],
        "labels": {
            "mesh_service": *instance.service,
            "mesh_instance": *instance.key.id,
            "mesh_kind": instance.kind().name(),
            "mesh_version": instance.version(),
        },
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use discovery::{Check, Registration, backends::Memory};
    use http_body_util::BodyExt as _;

    use super::*;

    fn registration(service: &str, id: &str, tag: &str, meta: &[(&str, &str)]) -> Registration {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Registration {
            id: id.to_owned(),
            service: service.to_owned(),
            host: "::1".to_owned(),
            port: 50052,
            tags: vec![tag.to_owned()],
            meta: meta.iter().map(own).collect(),
            weight_passing: 1,
            weight_warning: 1,
            check: Check::Grpc,
            check_interval: Duration::from_secs(1),
            deregister_after: Duration::ZERO,
        }
    }

    #[tokio::test]
    async fn every_program_is_a_target_and_others_services_are_none() {
        let memory = Arc::new(Memory::new());
        let targets = ScrapeTargets::new(memory.clone());
        let metrics = ("admin_port", "9090");
        for it in [
            registration(
                "agent-echo",
                "echo-1",
                "agent",
                &[metrics, ("version", "1.2")],
            ),
            registration("mcp-router", "router-1", "router", &[metrics]),
            registration("mesh-gateway", "gateway-1", "gateway", &[metrics]),
            registration("agent-foreign", "foreign-1", "agent", &[]),
            registration("nginx", "nginx-1", "http", &[]),
            registration("redis", "redis-1", "cache", &[metrics]),
        ] {
            memory.register(&it).await.unwrap();
        }
        let seen = async || {
            let body = targets.answer().await.into_body().collect().await;
            let all: Vec<Value> = serde_json::from_slice(&body.unwrap().to_bytes()).unwrap();
            let echo = all
                .iter()
                .find(|it| it["labels"]["mesh_instance"] == "echo-1");
            if let Some(echo) = echo {
                assert_eq!(echo["targets"], json!(["[::1]:9090"]));
                assert_eq!(
                    echo["labels"],
                    json!({"mesh_service": "agent-echo", "mesh_instance": "echo-1",
                        "mesh_kind": "agent", "mesh_version": "1.2"})
                );
            }
            let ids = all
                .iter()
                .map(|it| it["labels"]["mesh_instance"].to_string());
            ids.collect::<BTreeSet<_>>()
        };
        let named = |ids: &[&str]| ids.iter().map(|id| format!("{id:?}")).collect();
        let expected: BTreeSet<_> = named(&["echo-1", "router-1", "gateway-1"]);
        assert_eq!(seen().await, expected);
        memory.deregister("echo-1").await.unwrap();
        let expected: BTreeSet<_> = named(&["router-1", "gateway-1"]);
        assert_eq!(seen().await, expected);
    }
}
