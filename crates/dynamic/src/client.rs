//! Calls with JSON in and out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use channel::Target;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use proto::error_info::{self, Reason};
use serde_json::Value;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::{MetadataKey, MetadataMap},
};

use crate::{
    INSTANCE, ReceivedMessage, SERVICE, SESSION, Transport, codec::BytesCodec, deadline::Deadline,
    descriptors::Descriptors, from_json, invoke, invoke::exchange, names::ServiceNames,
    transport::TargetChannel,
};

/// What a client is made with.
#[derive(Debug, Clone)]
pub struct DynamicOptions {
    /// How long descriptors are believed before they are asked for again; a minute.
    pub descriptor_ttl: Duration,
    /// The largest message of an answer, in bytes; 4 MiB.
    pub max_message_bytes: usize,
}

impl Default for DynamicOptions {
    fn default() -> Self {
        Self {
            descriptor_ttl: Duration::from_secs(60),
            max_message_bytes: 4 << 20,
        }
    }
}

/// Whom to call, and how.
#[derive(Debug, Clone, Default)]
pub struct DynamicCall {
    /// A service's public id or Consul name, such as `echo-agent` or `agent-echo`.
    pub service: String,
    /// `pkg.Service/Method`.
    pub method: String,
    /// How long the whole call may take; as long as it likes when `None`.
    pub timeout: Option<Duration>,
    /// Metadata to send along, such as `traceparent`.
    pub metadata: BTreeMap<String, String>,
}

/// What a unary call came to.
#[derive(Debug, Clone)]
pub struct UnaryResponse<M = Value> {
    /// The message.
    pub message: M,
    /// Consul service ID of the instance that answered, where that is known.
    pub instance: Option<String>,
    /// The answer's metadata.
    pub metadata: MetadataMap,
}

/// Calls services of the mesh by their names. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DynamicClient {
    transport: Transport,
    descriptors: Arc<Descriptors>,
    names: Arc<ServiceNames>,
    options: DynamicOptions,
}

impl DynamicClient {
    /// A client over a way to the services.
    #[must_use]
    pub fn new(transport: Transport, options: DynamicOptions) -> Self {
        Self {
            transport,
            descriptors: Arc::new(Descriptors::new(options.descriptor_ttl)),
            names: Arc::default(),
            options,
        }
    }

    /// The Consul name of what a caller calls `echo-agent` or `agent-echo`. A router knows names
    /// better, so for one it is the name itself.
    async fn resolve(&self, name: &str) -> Result<Arc<str>, Status> {
        match &self.transport {
            Transport::Mesh(mesh) => self.names.find(&**mesh.discovery(), name).await,
            Transport::Router { .. } => Ok(name.into()),
        }
    }

    /// What is known of a method, its messages among it.
    ///
    /// # Errors
    /// `NOT_FOUND` for a service that is not there, `UNIMPLEMENTED` for a method that it does not
    /// describe, `UNAVAILABLE` when nobody can be asked.
    pub async fn method(&self, service: &str, method: &str) -> Result<MethodDescriptor, Status> {
        let name = self.resolve(service).await?;
        let target_channel = self.transport.target_channel(Target::service(&name));
        self.descriptors
            .method(&name, method, &target_channel)
            .await
    }

    /// Calls a method that answers with one message. The messages of a method that takes a stream
    /// are a JSON array.
    ///
    /// # Errors
    /// What the mesh or the service says; `INVALID_ARGUMENT` for a message that is not the
    /// method's, `UNIMPLEMENTED` for a method that is not there.
    pub async fn call(&self, call: &DynamicCall, message: Value) -> Result<UnaryResponse, Status> {
        let mut stream = self.stream(call, message).await?;
        let message = stream.next().await?.ok_or_else(|| no_message(call))?;
        // The status stands behind the message.
        if stream.next().await?.is_some() {
            let text = format!("{} answers with a stream of messages", call.method);
            return Err(Status::failed_precondition(text));
        }
        Ok(UnaryResponse {
            message,
            instance: stream.instance,
            metadata: stream.metadata,
        })
    }

    /// Calls a method of any kind.
    ///
    /// # Errors
    /// As [`DynamicClient::call`].
    pub async fn stream(
        &self,
        call: &DynamicCall,
        message: Value,
    ) -> Result<MessageStream, Status> {
        let deadline = Deadline::after(call.timeout);
        let opening = async {
            let name = self.resolve(&call.service).await?;
            let plain = self.transport.target_channel(Target::service(&name));
            let method = self.descriptors.method(&name, &call.method, &plain).await?;
            let messages = messages(&method, message)?;
            let session = session(call, messages.first());
            let target_channel = self
                .transport
                .target_channel(Target::service(&name).session(&session));
            let request = self.request(call, deadline, messages)?;
            let sent = invoke(
                target_channel.clone(),
                &method,
                request,
                self.options.max_message_bytes,
            );
            let answer = sent
                .await
                .map_err(|status| with_instance(status, &target_channel))?;
            Ok((answer, target_channel))
        };
        let (answer, target_channel) = deadline.keep(opening).await?;
        let metadata = answer.metadata().clone();
        Ok(MessageStream {
            instance: target_channel.instance().map(|id| id.to_string()),
            target_channel,
            deadline,
            metadata,
            messages: answer.into_inner(),
        })
    }

    /// Calls a method that takes and gives one message, both as bytes; no descriptors are needed.
    ///
    /// # Errors
    /// What the mesh or the service says.
    pub async fn call_bytes(
        &self,
        call: &DynamicCall,
        message: Bytes,
    ) -> Result<UnaryResponse<Bytes>, Status> {
        let deadline = Deadline::after(call.timeout);
        let calling = async {
            let name = self.resolve(&call.service).await?;
            let target = Target::service(&name).session(&session(call, None));
            let target_channel = self.transport.target_channel(target);
            let request = self.request(call, deadline, vec![message])?;
            let (method, most) = (
                call.method.trim_start_matches('/'),
                self.options.max_message_bytes,
            );
            let sent = async {
                let answer =
                    exchange(target_channel.clone(), method, BytesCodec, request, most).await?;
                let metadata = answer.metadata().clone();
                let mut messages = answer.into_inner();
                let message = messages.message().await?;
                messages.trailers().await?;
                Ok((message.ok_or_else(|| no_message(call))?, metadata))
            };
            let (message, metadata) = sent
                .await
                .map_err(|status| with_instance(status, &target_channel))?;
            Ok(UnaryResponse {
                message,
                instance: target_channel.instance().map(|id| id.to_string()),
                metadata,
            })
        };
        deadline.keep(calling).await
    }

    fn request<M: Send + 'static>(
        &self,
        call: &DynamicCall,
        deadline: Deadline,
        messages: Vec<M>,
    ) -> Result<Request<tokio_stream::Iter<std::vec::IntoIter<M>>>, Status> {
        let mut request = Request::new(tokio_stream::iter(messages));
        for (key, value) in &call.metadata {
            let key = MetadataKey::from_bytes(key.to_lowercase().as_bytes());
            let pair = key.ok().zip(value.parse().ok());
            let (key, value) = pair.ok_or_else(|| {
                let text = "metadata has a key or a value that cannot be sent, use plain ASCII";
                let facts = [("field", "metadata".to_owned())];
                error_info::status(Code::InvalidArgument, Reason::BadMetadata, text, facts)
            })?;
            request.metadata_mut().insert(key, value);
        }
        if let Transport::Router { .. } = self.transport {
            let service = call.service.parse().map_err(|_| {
                Status::invalid_argument(format!("{:?} cannot be a name", call.service))
            })?;
            request.metadata_mut().insert(SERVICE, service);
        }
        if let Some(left) = deadline.left() {
            request.set_timeout(left);
        }
        Ok(request)
    }
}

/// The messages of an answer, as they come.
#[derive(Debug)]
pub struct MessageStream {
    /// Consul service ID of the instance that answers, where that is known.
    pub instance: Option<String>,
    /// The answer's metadata.
    pub metadata: MetadataMap,
    messages: Streaming<ReceivedMessage>,
    target_channel: TargetChannel,
    deadline: Deadline,
}

impl MessageStream {
    /// The next message; `None` after the last.
    ///
    /// # Errors
    /// What the call ended with.
    pub async fn next(&mut self) -> Result<Option<Value>, Status> {
        let message = self.deadline.keep(self.messages.message()).await;
        let message = message.map_err(|status| with_instance(status, &self.target_channel))?;
        Ok(message.map(|message| message.to_json()))
    }
}

/// One message, or those of a JSON array where the method takes a stream.
fn messages(method: &MethodDescriptor, message: Value) -> Result<Vec<DynamicMessage>, Status> {
    let input: MessageDescriptor = method.input();
    match message {
        Value::Array(many) if method.is_client_streaming() => {
            many.into_iter().map(|one| from_json(&input, one)).collect()
        }
        one => Ok(vec![from_json(&input, one)?]),
    }
}

/// The session that a call belongs to, by its metadata or its message; empty for none.
fn session(call: &DynamicCall, message: Option<&DynamicMessage>) -> String {
    if let Some(session) = call.metadata.get(SESSION) {
        return session.clone();
    }
    let field = message.and_then(|message| message.get_field_by_name("session_id"));
    let session = field.and_then(|value| value.as_str().map(str::to_owned));
    session.unwrap_or_default()
}

/// The method has run, and would say no more the next time.
fn no_message(call: &DynamicCall) -> Status {
    Status::failed_precondition(format!("{} ended without a message", call.method))
}

/// The same status, with who gave it.
fn with_instance(mut status: Status, target_channel: &TargetChannel) -> Status {
    let instance = target_channel.instance().and_then(|id| id.parse().ok());
    if let Some(instance) = instance {
        status.metadata_mut().insert(INSTANCE, instance);
    }
    status
}
