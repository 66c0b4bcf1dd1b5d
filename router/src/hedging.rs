//! Hedged calls: more than one attempt at a time. The relay sends one attempt for a call, so it hands a
//! hedged call, with its target, to the local backend, which sends the attempts by [`Mesh::call`].

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use channel::{Mesh, ResponseBody, ServedBy, Target};
use discovery::Instance;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use proto::MeshCause;
use tokio::time::Instant;
use tonic::{Status, body::Body};

use crate::{
    routing::request::{HEDGED_CALL, INSTANCE},
    tasks::TaskLocations,
};

/// The hedged calls between the relay and the local backend.
#[derive(Debug, Default)]
pub(crate) struct HedgedCalls {
    calls: Mutex<HashMap<u64, Arc<HedgedCall>>>,
    next: AtomicU64,
}

/// A hedged call, until it is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    calls: Arc<HedgedCalls>,
    id: u64,
    call: Arc<HedgedCall>,
}

/// A call whose target is decided.
#[derive(Debug)]
pub(crate) struct HedgedCall {
    target: Arc<Target>,
    /// The task that the call carries.
    task: Option<String>,
    attempts: Mutex<Attempts>,
}

/// The attempts of a call so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) count: usize,
    /// The instance that answered, or that was picked last.
    pub(crate) instance: Option<Arc<Instance>>,
    /// Why the mesh, and not an instance, ended the call.
    pub(crate) cause: Option<MeshCause>,
}

impl HedgedCalls {
    /// Registers a call for the local backend.
    pub(crate) fn register(
        self: &Arc<Self>,
        target: Arc<Target>,
        task: Option<String>,
    ) -> Registered {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let call = Arc::new(HedgedCall {
            target,
            task,
            attempts: Mutex::default(),
        });
        self.calls.lock().insert(id, Arc::clone(&call));
        Registered {
            calls: Arc::clone(self),
            id,
            call,
        }
    }

    /// The call that a request's head names, which names it no longer.
    pub(crate) fn take(&self, head: &mut HeaderMap) -> Option<Arc<HedgedCall>> {
        let id = head.remove(HEDGED_CALL)?.to_str().ok()?.parse().ok()?;
        self.calls.lock().get(&id).cloned()
    }
}

impl Registered {
    /// The value of [`HEDGED_CALL`] in its request.
    pub(crate) fn id(&self) -> String {
        self.id.to_string()
    }

    /// Its attempts so far.
    pub(crate) fn attempts(&self) -> Attempts {
        self.call.attempts.lock().clone()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.calls.calls.lock().remove(&self.id);
    }
}

impl HedgedCall {
    /// Sends it, and answers as the instance does whose answer comes first.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mesh: &Mesh,
        tasks: &TaskLocations,
        request: Request<Body>,
    ) -> Response<Body> {
        let answer = mesh.call(&self.target, request, |instance| {
            let mut attempts = self.attempts.lock();
            attempts.count += 1;
            attempts.instance = Some(Arc::clone(instance));
            if let Some(task) = &self.task {
                tasks.record(task, &self.target.service, &instance.key, Instant::now());
            }
        });
        let mut response = match answer.await {
            Ok(mut response) => {
                if let Some(ServedBy(instance)) = response.extensions_mut().remove() {
                    self.attempts.lock().instance = Some(instance);
                }
                let call = Arc::clone(self);
                response.map(|inner| Body::new(HedgedBody { inner, call }))
            }
            Err(error) => {
                self.attempts.lock().cause = error.cause();
                error.status().into_http()
            }
        };
        response.headers_mut().remove(INSTANCE);
        let picked = self.attempts.lock().instance.clone();
        // An ID that no header can carry is left out.
        if let Some(id) = picked.and_then(|it| HeaderValue::from_str(&it.key.id).ok()) {
            response.headers_mut().insert(INSTANCE, id);
        }
        response
    }
}

/// The answer of a hedged call.
struct HedgedBody {
    inner: ResponseBody,
    call: Arc<HedgedCall>,
}

impl http_body::Body for HedgedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            // The mesh alone names the instance, in the head and once.
            trailers.remove(INSTANCE);
            if let Some(cause) = self.inner.cause() {
                self.call.attempts.lock().cause = Some(cause);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_by_its_id_until_it_ends() {
        let calls = Arc::new(HedgedCalls::default());
        let target = Arc::new(Target::service("agent-echo"));
        let registered = calls.register(Arc::clone(&target), None);
        let head = |id: &str| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static(HEDGED_CALL),
                id.parse::<HeaderValue>().unwrap(),
            )])
        };
        let mut named = head(&registered.id());
        let found = calls.take(&mut named).unwrap();
        assert!(Arc::ptr_eq(&found.target, &target) && named.is_empty());
        assert!(calls.take(&mut HeaderMap::new()).is_none());
        assert!(calls.take(&mut head("no number")).is_none());
        let id = registered.id();
        drop(registered);
        assert!(calls.take(&mut head(&id)).is_none());
        assert!(calls.calls.lock().is_empty());
    }
}
