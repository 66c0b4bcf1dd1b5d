//! The router's own gRPC reflection: it answers for itself and for every service behind it, so that
//! `grpcurl` can list, describe and call them without their proto files.

mod error_info;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use directory::{Descriptors, Directory, Service};
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use tonic::{Request, Response, Status, Streaming, body::Body, server::NamedService};
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
    server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
    server_reflection_server::{ServerReflection, ServerReflectionServer},
};

/// How many services are asked for their descriptors at a time.
const AT_A_TIME: usize = 16;

/// What the router serves itself.
const OWN_SERVICES: [&str; 7] = [
    "agentplatform.AgentService",
    "agentplatform.TaskWorker",
    "agentplatform.ToolService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "mesh.v1.MeshService",
];

/// Reflection for the router and the whole mesh behind it.
#[derive(Clone, Debug)]
pub(crate) struct Reflection {
    directory: Arc<Directory>,
    own: Arc<Descriptors>,
}

impl Reflection {
    /// Reflection for the services of a directory.
    ///
    /// # Errors
    /// When the descriptors built into this program cannot be read.
    pub(crate) fn new(directory: Arc<Directory>) -> Result<Self, prost::DecodeError> {
        let mut own = Descriptors::from_sets([
            proto::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ])?;
        own.add(error_info::file().encode_to_vec().into())?;
        Ok(Self {
            directory,
            own: Arc::new(own),
        })
    }

    /// The service of `grpc.reflection.v1`.
    pub(crate) fn v1(&self) -> ServerReflectionServer<Self> {
        ServerReflectionServer::new(self.clone())
    }

    /// The service of `grpc.reflection.v1alpha`.
    pub(crate) fn v1alpha(&self) -> V1Alpha<ServerReflectionServer<Self>> {
        V1Alpha(self.v1())
    }

    async fn answer(
        &self,
        question: Option<MessageRequest>,
        last: &mut Option<Arc<Service>>,
    ) -> Result<MessageResponse, Status> {
        let found = match question {
            None => {
                let message = "message_request is missing: ask one";
                return Err(Status::invalid_argument(message));
            }
            Some(MessageRequest::ListServices(_)) => {
                return Ok(MessageResponse::ListServicesResponse(self.list()));
            }
            Some(MessageRequest::FileByFilename(name)) => {
                let find = |descriptors: &Descriptors| descriptors.file(&name);
                self.find(last, "", find).await.ok_or(name)
            }
            Some(MessageRequest::FileContainingSymbol(symbol)) => {
                let find = |descriptors: &Descriptors| descriptors.file_containing(&symbol);
                self.find(last, &symbol, find).await.ok_or(symbol)
            }
            Some(MessageRequest::FileContainingExtension(it)) => {
                let (message, number) = (it.containing_type, it.extension_number);
                let find = |descriptors: &Descriptors| descriptors.file_extending(&message, number);
                let found = self.find(last, "", find).await;
                found.ok_or_else(|| format!("extension {number} of {message}"))
            }
            Some(MessageRequest::AllExtensionNumbersOfType(message)) => {
                let find = |descriptors: &Descriptors| descriptors.extension_numbers(&message);
                let Some(extension_number) = self.find(last, "", find).await else {
                    return Err(not_found(&message));
                };
                let base_type_name = message;
                return Ok(MessageResponse::AllExtensionNumbersResponse(
                    ExtensionNumberResponse {
                        base_type_name,
                        extension_number,
                    },
                ));
            }
        };
        let files: Vec<Bytes> = found.map_err(|what| not_found(&what))?;
        let file_descriptor_proto = files.into_iter().map(Vec::from).collect();
        Ok(MessageResponse::FileDescriptorResponse(
            FileDescriptorResponse {
                file_descriptor_proto,
            },
        ))
    }

    fn list(&self) -> ListServiceResponse {
        let snapshot = self.directory.snapshot();
        let mut names: Vec<&str> = snapshot.grpc_services().chain(OWN_SERVICES).collect();
        names.sort_unstable();
        names.dedup();
        let service = names
            .into_iter()
            .map(|name| ServiceResponse {
                name: name.to_owned(),
            })
            .collect();
        ListServiceResponse { service }
    }

    /// Looks where the answer is likeliest, since two services may have different files of one
    /// name: who announces the gRPC service asked for, who answered last on this stream, the router
    /// itself, everybody.
    async fn find<T>(
        &self,
        last: &mut Option<Arc<Service>>,
        symbol: &str,
        find: impl Fn(&Descriptors) -> Option<T>,
    ) -> Option<T> {
        let snapshot = self.directory.snapshot();
        let is_own = OWN_SERVICES.into_iter().any(|own| is_of(symbol, own));
        let mut likely: Vec<Arc<Service>> = Vec::new();
        if !is_own {
            let mut announced = snapshot.grpc_services();
            if let Some(announced) = announced.find(|service| is_of(symbol, service)) {
                likely.extend_from_slice(snapshot.by_grpc_service(announced));
            }
            likely.extend(last.clone());
        }
        for service in likely {
            let descriptors = self.directory.descriptors(&service).await;
            if let Some(found) = descriptors.and_then(|descriptors| find(&descriptors)) {
                *last = Some(service);
                return Some(found);
            }
        }
        if let Some(found) = find(&self.own) {
            *last = None;
            return Some(found);
        }
        let asked: Vec<Arc<Service>> = snapshot
            .services()
            .filter(|service| service.is_serving())
            .cloned()
            .collect();
        let mut answers = stream::iter(asked.into_iter().map(|service| {
            let directory = Arc::clone(&self.directory);
            async move {
                let descriptors = directory.descriptors(&service).await;
                (service, descriptors)
            }
        }))
        .buffered(AT_A_TIME);
        while let Some((service, descriptors)) = answers.next().await {
            if let Some(found) = descriptors.and_then(|descriptors| find(&descriptors)) {
                *last = Some(service);
                return Some(found);
            }
        }
        None
    }
}

fn not_found(what: &str) -> Status {
    Status::not_found(format!("nobody describes {what}"))
}

/// Whether a symbol is a gRPC service or something in it.
fn is_of(symbol: &str, grpc_service: &str) -> bool {
    symbol
        .strip_prefix(grpc_service)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

type Answers = Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream = Answers;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (questions, last) = (request.into_inner(), None::<Arc<Service>>);
        let state = (self.clone(), questions, last);
        let answers = stream::unfold(state, |(reflection, mut questions, mut last)| async move {
            // A client that went away needs no answer.
            let Ok(Some(request)) = questions.message().await else {
                return None;
            };
            let answer = reflection
                .answer(request.message_request.clone(), &mut last)
                .await;
            let answer = answer.unwrap_or_else(|status| {
                MessageResponse::ErrorResponse(ErrorResponse {
                    error_code: status.code().into(),
                    error_message: status.message().to_owned(),
                })
            });
            let response = ServerReflectionResponse {
                valid_host: request.host.clone(),
                original_request: Some(request),
                message_response: Some(answer),
            };
            Some((Ok(response), (reflection, questions, last)))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Serves `grpc.reflection.v1alpha` with the service of v1: on the wire only the path differs.
#[derive(Clone, Debug)]
pub(crate) struct V1Alpha<S>(S);

impl<S> NamedService for V1Alpha<S> {
    const NAME: &'static str = "grpc.reflection.v1alpha.ServerReflection";
}

impl<S> tower::Service<http::Request<Body>> for V1Alpha<S>
where
    S: tower::Service<http::Request<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> S::Future {
        let path = request.uri().path().replacen(".v1alpha.", ".v1.", 1);
        // What was a path stays one; a URI that is none keeps its own, and is UNIMPLEMENTED.
        if let Ok(path) = path.parse() {
            *request.uri_mut() = path;
        }
        self.0.call(request)
    }
}

#[cfg(test)]
mod tests;
