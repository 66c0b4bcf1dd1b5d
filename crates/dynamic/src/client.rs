//! Calls with JSON in and out.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use channel::Target;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use proto::error_info::{self, Reason};
use serde_json::Value;
use tonic::{
    Code, Status, Streaming,
    metadata::{MetadataKey, MetadataMap},
};

use crate::{
    CallHead, INSTANCE, MethodRoute, PreparedCall, ReceivedMessage, SERVICE, SESSION, Transport,
    deadline::Deadline, descriptors::Descriptors, exchange, from_json, names::ServiceNames,
    transport::TargetChannel,
};

/// The options of a client.
#[derive(Debug, Clone)]
pub struct DynamicOptions {
    /// How long descriptors are used before they are fetched again; a minute.
    pub descriptor_ttl: Duration,
    /// Largest message of an answer, bytes; 4 MiB.
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

/// A call: its service, its method, and how it is sent.
#[derive(Debug, Clone, Default)]
pub struct DynamicCall {
    /// A service's public id or Consul name, such as `echo-agent` or `agent-echo`.
    pub service: String,
    /// `pkg.Service/Method`.
    pub method: String,
    /// Longest time for the whole call; `None` for no limit.
    pub timeout: Option<Duration>,
    /// Metadata of the request, such as `traceparent`.
    pub metadata: BTreeMap<String, String>,
}

/// The answer to a unary call.
#[derive(Debug, Clone)]
pub struct UnaryResponse<M = Value> {
    /// The message.
    pub message: M,
    /// Consul service ID of the instance that answered, where that is known.
    pub instance: Option<String>,
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
    /// A client that calls through `transport`.
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

    /// The descriptor of a method, which has those of its messages.
    ///
    /// # Errors
    /// `NOT_FOUND` for an unknown service, `UNIMPLEMENTED` for a method that it does not describe,
    /// `UNAVAILABLE` when no instance answers.
    pub async fn method(&self, service: &str, method: &str) -> Result<MethodDescriptor, Status> {
        let prepared = self.prepare(service, method).await?;
        Ok(prepared.method().clone())
    }

    /// Finds a method, for any number of calls.
    ///
    /// # Errors
    /// As [`DynamicClient::method`].
    pub async fn prepare(&self, service: &str, method: &str) -> Result<PreparedCall, Status> {
        let name = self.resolve(service).await?;
        let channel = self.transport.target_channel(&name, Target::service(&name));
        let method = self.descriptors.method(&name, method, &channel).await?;
        let route = MethodRoute::named(service.into(), name, &crate::path(&method))?;
        Ok(PreparedCall::along(route, method))
    }

    /// Calls a method that was found before. A method that takes one message is given one.
    ///
    /// # Errors
    /// The status of the mesh or of the service.
    pub async fn send(
        &self,
        call: &PreparedCall,
        head: CallHead,
        messages: Vec<Bytes>,
    ) -> Result<MessageStream, Status> {
        let messages = self.send_bytes(call.route(), head, messages).await?;
        Ok(MessageStream::of(messages, call))
    }

    /// The same without descriptors: the answer is bytes.
    ///
    /// # Errors
    /// The status of the mesh or of the service.
    pub async fn send_bytes(
        &self,
        route: &MethodRoute,
        head: CallHead,
        messages: Vec<Bytes>,
    ) -> Result<ByteStream, Status> {
        let deadline = Deadline::after(head.timeout);
        // Pinned where it is: a future that is passed on by value is there twice.
        let opening = pin!(self.open(route, head.metadata, &head.session, deadline, messages));
        deadline.keep(opening).await
    }

    /// Calls a method that answers with one message. A method that takes a stream gets the elements
    /// of a JSON array as its messages.
    ///
    /// # Errors
    /// The status of the mesh or of the service; `INVALID_ARGUMENT` for JSON that is not the method's
    /// message, `UNIMPLEMENTED` for an unknown method.
    pub async fn call(&self, call: &DynamicCall, message: Value) -> Result<UnaryResponse, Status> {
        let mut stream = self.stream(call, message).await?;
        let message = stream.next().await?.ok_or_else(|| no_message(call))?;
        // The status comes after the message.
        if stream.next().await?.is_some() {
            let text = format!("{} answers with a stream of messages", call.method);
            return Err(Status::failed_precondition(text));
        }
        Ok(UnaryResponse {
            message,
            instance: stream.instance,
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
            let prepared = self.prepare(&call.service, &call.method).await?;
            let messages = messages(prepared.method(), message)?;
            let session = session(call, messages.first());
            let metadata = metadata(call)?;
            let encode = |message: &DynamicMessage| message.encode_to_vec().into();
            let messages = messages.iter().map(encode).collect();
            let route = prepared.route();
            let answer = self.open(route, metadata, &session, deadline, messages);
            Ok(MessageStream::of(answer.await?, &prepared))
        };
        deadline.keep(pin!(opening)).await
    }

    /// Calls a method that takes and gives one message, both as bytes. It needs no descriptors.
    ///
    /// # Errors
    /// The status of the mesh or of the service.
    pub async fn call_bytes(
        &self,
        call: &DynamicCall,
        message: Bytes,
    ) -> Result<UnaryResponse<Bytes>, Status> {
        let deadline = Deadline::after(call.timeout);
        let opening = async {
            let name = self.resolve(&call.service).await?;
            let (metadata, session) = (metadata(call)?, session(call, None));
            let method = call.method.trim_start_matches('/');
            let route = MethodRoute::named(call.service.as_str().into(), name, method)?;
            let messages = vec![message];
            let answer = self.open(&route, metadata, &session, deadline, messages);
            answer.await
        };
        let mut messages = deadline.keep(pin!(opening)).await?;
        let message = messages.next().await?.ok_or_else(|| no_message(call))?;
        // The status comes after the last message.
        while messages.next().await?.is_some() {}
        Ok(UnaryResponse {
            message,
            instance: messages.instance().map(|id| id.to_string()),
        })
    }

    /// Sends the messages of a call, and returns those of the answer.
    async fn open(
        &self,
        route: &MethodRoute,
        mut metadata: MetadataMap,
        session: &str,
        deadline: Deadline,
        messages: Vec<Bytes>,
    ) -> Result<ByteStream, Status> {
        if let Transport::Router { .. } = self.transport {
            let service = route.service.parse().map_err(|_| {
                Status::invalid_argument(format!("{:?} cannot be a name", route.service))
            })?;
            metadata.insert(SERVICE, service);
        }
        let mut request = exchange::request(route.path.clone(), metadata, &messages)?;
        if let Some(left) = deadline.left() {
            channel::deadline::write(request.headers_mut(), left);
        }
        let target = route.target.clone().session(session);
        let channel = self.transport.target_channel(&route.service, target);
        let answer = channel.exchange(request, self.options.max_message_bytes);
        let answer = answer.await;
        Ok(ByteStream {
            messages: answer.map_err(|status| with_instance(status, &channel))?,
            channel,
            deadline,
        })
    }
}

/// The messages of an answer as JSON, in the order in which they come.
#[derive(Debug)]
pub struct MessageStream {
    /// Consul service ID of the instance that answers, where that is known.
    pub instance: Option<String>,
    messages: ByteStream,
    descriptor: MessageDescriptor,
}

impl MessageStream {
    fn of(messages: ByteStream, call: &PreparedCall) -> Self {
        Self {
            instance: messages.instance().map(|id| id.to_string()),
            messages,
            descriptor: call.method().output(),
        }
    }

    /// The next message; `None` after the last.
    ///
    /// # Errors
    /// The status that the call ended with.
    pub async fn next(&mut self) -> Result<Option<Value>, Status> {
        Ok(self.message().await?.map(|message| message.to_json()))
    }

    /// The same as a message.
    ///
    /// # Errors
    /// The status that the call ended with.
    pub async fn message(&mut self) -> Result<Option<ReceivedMessage>, Status> {
        let message = self.messages.next().await?;
        Ok(message.map(|bytes| ReceivedMessage::decode(self.descriptor.clone(), bytes)))
    }
}

/// The messages of an answer as bytes, until its deadline. An error names the instance that gave it.
#[derive(Debug)]
pub struct ByteStream {
    messages: Streaming<Bytes>,
    channel: TargetChannel,
    deadline: Deadline,
}

impl ByteStream {
    /// The next message; `None` after the last.
    ///
    /// # Errors
    /// The status that the call ended with.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let message = self.deadline.keep(self.messages.message()).await;
        message.map_err(|status| with_instance(status, &self.channel))
    }

    /// Consul service ID of the instance that answers, where that is known.
    #[must_use]
    pub fn instance(&self) -> Option<Arc<str>> {
        self.channel.instance()
    }
}

/// One message, or those of a JSON array where the method takes a stream.
fn messages(method: &MethodDescriptor, message: Value) -> Result<Vec<DynamicMessage>, Status> {
    let input = method.input();
    match message {
        Value::Array(many) if method.is_client_streaming() => {
            many.into_iter().map(|one| from_json(&input, one)).collect()
        }
        one => Ok(vec![from_json(&input, one)?]),
    }
}

/// The metadata of a call.
fn metadata(call: &DynamicCall) -> Result<MetadataMap, Status> {
    let mut metadata = MetadataMap::new();
    for (key, value) in &call.metadata {
        let key = MetadataKey::from_bytes(key.to_lowercase().as_bytes());
        let pair = key.ok().zip(value.parse().ok());
        let (key, value) = pair.ok_or_else(|| {
            let text = "metadata has a key or a value that cannot be sent, use plain ASCII";
            let facts = [("field", "metadata".to_owned())];
            error_info::status(Code::InvalidArgument, Reason::BadMetadata, text, facts)
        })?;
        metadata.insert(key, value);
    }
    Ok(metadata)
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

/// The error about an answer without a message. The method has run: it would say no more another time.
fn no_message(call: &DynamicCall) -> Status {
    Status::failed_precondition(format!("{} ended without a message", call.method))
}

/// Adds the instance that gave it to a status.
fn with_instance(mut status: Status, channel: &TargetChannel) -> Status {
    let instance = channel.instance().and_then(|id| id.parse().ok());
    if let Some(instance) = instance {
        status.metadata_mut().insert(INSTANCE, instance);
    }
    status
}
