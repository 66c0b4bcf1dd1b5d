//! The descriptors of gRPC services, kept for a while.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use proto::error_info::{self, Reason};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use crate::{ReflectionClient, transport::TargetChannel};

/// How long reflection may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon an unknown method may make us ask again.
const AGAIN: Duration = Duration::from_secs(5);

/// Service of the registry, full name of the gRPC service.
type Name = (Arc<str>, Arc<str>);
/// Locked while it is asked for, so that everybody waits for the same answer.
type CacheEntry = Arc<tokio::sync::Mutex<Option<(Instant, DescriptorPool)>>>;

#[derive(Debug)]
pub(crate) struct Descriptors {
    ttl: Duration,
    entries: Mutex<HashMap<Name, CacheEntry>>,
}

impl Descriptors {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            entries: Mutex::default(),
        }
    }

    /// A method of a service, by what the service's reflection says of it.
    pub(crate) async fn method(
        &self,
        service: &Arc<str>,
        path: &str,
        target_channel: &TargetChannel,
    ) -> Result<MethodDescriptor, Status> {
        let Some((grpc, method)) = path.trim_start_matches('/').split_once('/') else {
            let text = format!("{path:?} is no method, write pkg.Service/Method");
            let facts = [("field", "method".to_owned())];
            return Err(error_info::status(
                Code::InvalidArgument,
                Reason::BadMethod,
                text,
                facts,
            ));
        };
        let name: Name = (service.clone(), grpc.into());
        let entry = self.entries.lock().entry(name.clone()).or_default().clone();
        let mut known = entry.lock().await;
        if let Some((since, pool)) = &*known {
            let found = find(pool, grpc, method);
            if since.elapsed() < if found.is_some() { self.ttl } else { AGAIN } {
                return found.ok_or_else(|| unknown(service, path));
            }
        }
        let fetched = match timeout(PATIENCE, fetch(target_channel, grpc)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(Status::unavailable(format!(
                "the reflection of {service} has not answered within {PATIENCE:?}"
            ))),
        };
        match (fetched, &*known) {
            (Ok(pool), _) => {
                let found = find(&pool, grpc, method);
                *known = Some((Instant::now(), pool));
                found.ok_or_else(|| unknown(service, path))
            }
            // What was known holds while nobody can be asked.
            (Err(_), Some((_, pool))) => {
                find(pool, grpc, method).ok_or_else(|| unknown(service, path))
            }
            (Err(status), None) => {
                // Keys come from callers: only those that mean something are kept.
                self.entries.lock().remove(&name);
                Err(match status.code() {
                    Code::NotFound | Code::Unimplemented => unknown(service, path),
                    _ => status,
                })
            }
        }
    }
}

/// What reflection tells; the platform's own contract, where an instance has none.
async fn fetch(target_channel: &TargetChannel, grpc: &str) -> Result<DescriptorPool, Status> {
    let told = ReflectionClient::new(target_channel.clone())
        .pool(grpc)
        .await;
    let untold = |status: &Status| matches!(status.code(), Code::NotFound | Code::Unimplemented);
    match told {
        Err(status) if untold(&status) => {
            let own = DescriptorPool::decode(proto::DESCRIPTORS).ok();
            own.filter(|pool| pool.get_service_by_name(grpc).is_some())
                .ok_or(status)
        }
        told => told,
    }
}

fn find(pool: &DescriptorPool, grpc: &str, method: &str) -> Option<MethodDescriptor> {
    let service = pool.get_service_by_name(grpc)?;
    service.methods().find(|known| known.name() == method)
}

fn unknown(service: &str, path: &str) -> Status {
    let text = format!("{service} describes no method {path}");
    let facts = [("service", service.to_owned()), ("method", path.to_owned())];
    error_info::status(Code::Unimplemented, Reason::UnknownMethod, text, facts)
}
