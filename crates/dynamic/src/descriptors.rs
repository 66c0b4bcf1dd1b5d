//! The descriptors of gRPC services, kept for a while.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use proto::error_info::{self, Reason};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use crate::{ReflectionClient, transport::TargetChannel};

/// Longest time for one use of reflection.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How old descriptors are at least before a method that they lack makes us fetch them again.
const RETRY_UNKNOWN: Duration = Duration::from_secs(5);

/// Consul name of the service, full name of the gRPC service.
type Name = (Arc<str>, Arc<str>);
/// Locked while it is fetched: other callers wait for the same answer.
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

    /// The descriptor of a method, which the service's reflection has.
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
        let find = |pool: &DescriptorPool| {
            let service = pool.get_service_by_name(grpc)?;
            service.methods().find(|known| known.name() == method)
        };
        let is_fresh = |(fetched, pool): &(Instant, DescriptorPool)| {
            let ttl = find(pool).map_or(RETRY_UNKNOWN, |_| self.ttl);
            fetched.elapsed() < ttl
        };
        if !known.as_ref().is_some_and(is_fresh) {
            let fetched = timeout(TIMEOUT, fetch(target_channel, grpc)).await;
            match fetched.unwrap_or_else(|_| Err(no_answer(service))) {
                Ok(pool) => *known = Some((Instant::now(), pool)),
                // Old descriptors serve as long as no instance answers.
                Err(_) if known.is_some() => {}
                Err(status) => {
                    // Callers choose the names: an entry for one that means nothing is not kept.
                    self.entries.lock().remove(&name);
                    return Err(match is_unknown(&status) {
                        true => unknown(service, path),
                        false => status,
                    });
                }
            }
        }
        let found = known.as_ref().and_then(|(_, pool)| find(pool));
        found.ok_or_else(|| unknown(service, path))
    }
}

/// The descriptors that reflection has; the platform's own where an instance has no reflection.
async fn fetch(target_channel: &TargetChannel, grpc: &str) -> Result<DescriptorPool, Status> {
    let mut reflection = ReflectionClient::new(target_channel.clone());
    match reflection.pool(grpc).await {
        Err(status) if is_unknown(&status) => {
            let own = DescriptorPool::decode(proto::DESCRIPTORS).ok();
            own.filter(|pool| pool.get_service_by_name(grpc).is_some())
                .ok_or(status)
        }
        fetched => fetched,
    }
}

fn is_unknown(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::Unimplemented)
}

fn no_answer(service: &str) -> Status {
    Status::unavailable(format!(
        "the reflection of {service} has not answered within {TIMEOUT:?}"
    ))
}

fn unknown(service: &str, path: &str) -> Status {
    let text = format!("{service} describes no method {path}");
    let facts = [("service", service.to_owned()), ("method", path.to_owned())];
    error_info::status(Code::Unimplemented, Reason::UnknownMethod, text, facts)
}
