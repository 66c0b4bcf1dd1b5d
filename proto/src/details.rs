//! The header `grpc-status-details-bin` of answers.
//!
//! tonic's clients panic where it is not base64, and any service can send that. What hands answers
//! to them takes such a header out first: the code and the message of the status stay.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use tonic::{Status, body::Body};
use tower::Service;

/// With padding or without, as tonic reads it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Takes the details of a status out of headers or trailers, if they are not base64.
pub fn remove_invalid(headers: &mut HeaderMap) {
    // tonic reads the first of several.
    let Some(details) = headers.get(Status::GRPC_STATUS_DETAILS) else {
        return;
    };
    if BASE64.decode(details.as_bytes()).is_err() {
        headers.remove(Status::GRPC_STATUS_DETAILS);
    }
}

/// A channel whose answers have no invalid details, for a client of tonic.
///
/// ```
/// use mesh_proto::{agentplatform::agent_service_client::AgentServiceClient, details::CheckedDetails};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let channel = tonic::transport::Endpoint::from_static("http://localhost:50051").connect_lazy();
/// let client = AgentServiceClient::new(CheckedDetails(channel));
/// # drop(client) });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CheckedDetails<S>(pub S);

impl<S, B> Service<Request<B>> for CheckedDetails<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { Ok(checked(answer.await?)) })
    }
}

/// An answer without invalid details, in its headers and in its trailers.
#[must_use]
pub fn checked(mut answer: Response<Body>) -> Response<Body> {
    remove_invalid(answer.headers_mut());
    answer.map(|body| {
        Body::new(body.map_frame(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                remove_invalid(trailers);
            }
            frame
        }))
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tonic::Code;

    use super::*;
    use crate::agentplatform::{TaskRequest, agent_service_client::AgentServiceClient};

    /// What a client of tonic makes of a status that has these details.
    async fn read(details: &'static str, trailers_only: bool) -> Status {
        let service = tower::service_fn(move |_: Request<Body>| async move {
            let mut status = HeaderMap::new();
            status.insert("grpc-status", 9.into());
            status.insert("grpc-message", "no".parse().unwrap());
            status.insert("grpc-status-details-bin", details.parse().unwrap());
            if trailers_only {
                let mut answer = Response::new(Body::empty());
                *answer.headers_mut() = status;
                return Ok::<_, Infallible>(answer);
            }
            let frames = [Ok::<_, Infallible>(Frame::<Bytes>::trailers(status))];
            Ok(Response::new(Body::new(StreamBody::new(stream::iter(
                frames,
            )))))
        });
        let mut client = AgentServiceClient::new(CheckedDetails(service));
        client
            .execute_task(TaskRequest::default())
            .await
            .unwrap_err()
    }

    #[tokio::test]
    async fn a_client_of_tonic_reads_every_status() {
        for trailers_only in [false, true] {
            for invalid in ["!", "A", "CAM_", "CAM=="] {
                let status = read(invalid, trailers_only).await;
                let seen = (status.code(), status.message(), status.details());
                assert_eq!(
                    seen,
                    (Code::FailedPrecondition, "no", &b""[..]),
                    "{invalid}"
                );
            }
            for valid in ["CAM", "CAM=", ""] {
                let status = read(valid, trailers_only).await;
                assert_eq!(status.details().len(), if valid.is_empty() { 0 } else { 2 });
            }
        }
    }
}
