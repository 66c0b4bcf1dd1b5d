//! The data path: a request goes to an instance as it came, and its answer comes back as it was
//! given. This is the one seam between the router and what carries the bytes.

use std::sync::Arc;

use channel::{Mesh, ServedBy, Target};
use discovery::Instance;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use service::access::CallOutcome;
use tonic::{Status, body::Body};

/// Names the instance that was picked, in the answer's initial metadata.
pub const INSTANCE: HeaderName = HeaderName::from_static("x-mesh-instance");

/// Fields that say for whom a job runs. Programs of the mesh send them to instances; a client's would
/// be taken for theirs.
pub const INTERNAL_FIELDS: [&str; 2] = ["x-mesh-caller", "x-mesh-job"];

/// Sends a request to an instance of the target. `picked` is told of it before each attempt.
pub async fn forward(
    mesh: &Mesh,
    target: &Target,
    mut request: Request<Body>,
    mut picked: impl FnMut(&Arc<Instance>) + Send,
) -> Response<Body> {
    let mut last: Option<Arc<Instance>> = None;
    let mut attempts = 0;
    // Whom a call is pinned to is said to the router; behind it the instance may itself call.
    request.headers_mut().remove(INSTANCE);
    for field in INTERNAL_FIELDS {
        request.headers_mut().remove(field);
    }
    let answer = mesh.call(target, request, |instance| {
        picked(instance);
        attempts += 1;
        last = Some(Arc::clone(instance));
    });
    let mut response = match answer.await {
        Ok(mut response) => {
            let served = response.extensions_mut().remove::<ServedBy>();
            let mut response = response.map(|body| {
                // The name in the answer's head is the mesh's, and its only one.
                Body::new(body.map_frame(|mut frame| {
                    if let Some(trailers) = frame.trailers_mut() {
                        trailers.remove(INSTANCE);
                    }
                    frame
                }))
            });
            name(
                &mut response,
                served.map(|ServedBy(instance)| instance).as_deref(),
            );
            response
        }
        Err(error) => {
            let mut response = refuse(&error.status());
            name(&mut response, last.as_deref());
            response
        }
    };
    response.extensions_mut().insert(CallOutcome {
        service: Some(target.service.to_string()),
        instance: last.map(|instance| instance.key.id.to_string()),
        attempts,
        ..CallOutcome::default()
    });
    response
}

/// An answer that is nothing but a status of the mesh's.
#[must_use]
pub fn refuse(status: &Status) -> Response<Body> {
    status.clone().into_http()
}

fn name(response: &mut Response<Body>, instance: Option<&Instance>) {
    let Some(instance) = instance else { return };
    // An instance may be a router itself, or send back what it was sent.
    response.headers_mut().remove(INSTANCE);
    // An ID that is no header value is left out: it is the registry's word, not ours.
    if let Ok(value) = HeaderValue::from_str(&instance.key.id) {
        response.headers_mut().insert(INSTANCE, value);
    }
}
