//! Asks an instance's gRPC reflection, v1 first and v1alpha when it does not know v1. The two have
//! the same messages on the wire, so one client speaks both.

use std::collections::{BTreeSet, VecDeque};

use channel::Channel;
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming, client::Grpc};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use super::Descriptors;

/// Bounds on what one service may make us hold.
const MAX_FILES: usize = 1_000;
const MAX_BYTES: usize = 16 << 20;
const MAX_SERVICES: usize = 1_000;

const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const V1_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// The gRPC services an instance has, by full name; none when it has no reflection.
///
/// # Errors
/// When the instance could not be asked.
pub(crate) async fn list(channel: Channel) -> Result<Vec<String>, Status> {
    let mut session = Session::new(channel);
    match session
        .ask(MessageRequest::ListServices(String::new()))
        .await
    {
        Ok(MessageResponse::ListServicesResponse(answer)) => {
            let names = answer.service.into_iter().map(|service| service.name);
            Ok(names.take(MAX_SERVICES).collect())
        }
        Ok(_) => Ok(Vec::new()),
        Err(status) if status.code() == Code::Unimplemented => Ok(Vec::new()),
        Err(status) => Err(status),
    }
}

/// The files that define these symbols, and what they import.
///
/// # Errors
/// When the instance could not be asked, or tells more than the bounds allow.
pub(crate) async fn fetch(channel: Channel, symbols: &[String]) -> Result<Descriptors, Status> {
    let mut session = Session::new(channel);
    let mut descriptors = Descriptors::default();
    let mut asked = BTreeSet::new();
    let mut questions: VecDeque<_> = symbols
        .iter()
        .cloned()
        .map(MessageRequest::FileContainingSymbol)
        .collect();
    loop {
        let Some(question) = questions.pop_front() else {
            let missing = descriptors.missing();
            questions.extend(
                missing
                    .into_iter()
                    .filter(|file| asked.insert(file.clone()))
                    .map(MessageRequest::FileByFilename),
            );
            if questions.is_empty() {
                return Ok(descriptors);
            }
            continue;
        };
        let files = match session.ask(question).await {
            Ok(MessageResponse::FileDescriptorResponse(answer)) => answer.file_descriptor_proto,
            Ok(_) => continue,
            Err(status) if is_about_the_question(&status) => continue,
            Err(status) => return Err(status),
        };
        for file in files {
            // A file that cannot be read is one that is not there.
            drop(descriptors.add(file.into()));
        }
        if descriptors.files.len() > MAX_FILES || descriptors.bytes() > MAX_BYTES {
            return Err(Status::resource_exhausted(format!(
                "reflection tells more than {MAX_FILES} files or {MAX_BYTES} bytes"
            )));
        }
    }
}

/// Whether an error is the answer to one question, so that the next may fare better.
fn is_about_the_question(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::InvalidArgument)
}

/// One conversation: question, answer, question, answer.
struct Session {
    channel: Channel,
    path: &'static str,
    stream: Option<(
        mpsc::Sender<ServerReflectionRequest>,
        Streaming<ServerReflectionResponse>,
    )>,
}

impl Session {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            path: V1,
            stream: None,
        }
    }

    async fn ask(&mut self, question: MessageRequest) -> Result<MessageResponse, Status> {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(question),
        };
        let mut answer = self.exchange(request.clone()).await;
        if self.path == V1
            && answer
                .as_ref()
                .is_err_and(|e| e.code() == Code::Unimplemented)
        {
            self.path = V1_ALPHA;
            answer = self.exchange(request).await;
        }
        match answer?.message_response {
            Some(MessageResponse::ErrorResponse(error)) => Err(Status::new(
                Code::from_i32(error.error_code),
                error.error_message,
            )),
            Some(answer) => Ok(answer),
            None => Err(Status::internal("reflection's answer is empty")),
        }
    }

    async fn exchange(
        &mut self,
        request: ServerReflectionRequest,
    ) -> Result<ServerReflectionResponse, Status> {
        let Some((sender, mut answers)) = self.stream.take() else {
            return self.open(request).await;
        };
        if sender.send(request.clone()).await.is_err() {
            return self.open(request).await;
        }
        let answer = answers.message().await?.ok_or_else(ended)?;
        self.stream = Some((sender, answers));
        Ok(answer)
    }

    /// Some servers send no headers before their first answer, so the question goes along. After an
    /// error the stream is not used again: servers end it with their first.
    async fn open(
        &mut self,
        request: ServerReflectionRequest,
    ) -> Result<ServerReflectionResponse, Status> {
        let (sender, questions) = mpsc::channel(1);
        sender.send(request).await.map_err(|_| ended())?;
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_BYTES);
        grpc.ready().await?;
        let answers = grpc
            .streaming(
                Request::new(ReceiverStream::new(questions)),
                PathAndQuery::from_static(self.path),
                ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default(),
            )
            .await?;
        let mut answers = answers.into_inner();
        let answer = answers.message().await?.ok_or_else(ended)?;
        self.stream = Some((sender, answers));
        Ok(answer)
    }
}

fn ended() -> Status {
    Status::unavailable("reflection ended without an answer")
}
