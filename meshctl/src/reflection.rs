//! Asking a router what is in the mesh, by gRPC reflection.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use prost::Message as _;
use prost_reflect::{DescriptorPool, prost_types::FileDescriptorProto};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse,
    server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

/// One conversation with a reflection service.
#[derive(Debug)]
pub(crate) struct Reflection {
    questions: mpsc::Sender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
    services: Vec<String>,
}

impl Reflection {
    /// Begins with asking which gRPC services there are.
    ///
    /// # Errors
    /// What the router says.
    pub(crate) async fn open(channel: Channel) -> Result<Self, Status> {
        let (questions, asked) = mpsc::channel(1);
        // Some servers answer nothing, not even headers, before the first question.
        send(&questions, MessageRequest::ListServices(String::new())).await?;
        let mut client = ServerReflectionClient::new(channel);
        let answers = client
            .server_reflection_info(ReceiverStream::new(asked))
            .await?
            .into_inner();
        let mut reflection = Self {
            questions,
            answers,
            services: Vec::new(),
        };
        let MessageResponse::ListServicesResponse(list) = reflection.answer().await? else {
            return Err(Status::internal("reflection answered another question"));
        };
        reflection.services = list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect();
        Ok(reflection)
    }

    /// Full names of the gRPC services.
    pub(crate) fn services(&self) -> &[String] {
        &self.services
    }

    /// The files that describe a symbol. A pool of its own per symbol, since two services of the
    /// mesh may have different files of one name.
    ///
    /// # Errors
    /// `NOT_FOUND` as a [`Status`] when nobody describes it.
    pub(crate) async fn pool(&mut self, symbol: &str) -> anyhow::Result<DescriptorPool> {
        let question = MessageRequest::FileContainingSymbol(symbol.to_owned());
        let mut files = BTreeMap::new();
        let mut fresh = self.files(question).await?;
        loop {
            files.extend(fresh.into_iter().map(|file| (file.name().to_owned(), file)));
            let imported: BTreeSet<&String> =
                files.values().flat_map(|file| &file.dependency).collect();
            let missing = imported
                .into_iter()
                .find(|name| !files.contains_key(*name))
                .cloned();
            let Some(name) = missing else { break };
            fresh = match well_known(&name) {
                Some(file) => vec![file],
                None => {
                    self.files(MessageRequest::FileByFilename(name.clone()))
                        .await?
                }
            };
            if !fresh.iter().any(|file| file.name() == name) {
                bail!("reflection does not know {name}, which the file of {symbol} imports");
            }
        }
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_protos(files.into_values())
            .with_context(|| format!("read the descriptors of {symbol}"))?;
        Ok(pool)
    }

    async fn files(
        &mut self,
        question: MessageRequest,
    ) -> anyhow::Result<Vec<FileDescriptorProto>> {
        send(&self.questions, question).await?;
        let MessageResponse::FileDescriptorResponse(found) = self.answer().await? else {
            bail!("reflection answered another question");
        };
        let files = found.file_descriptor_proto.iter();
        files
            .map(|file| FileDescriptorProto::decode(file.as_slice()))
            .collect::<Result<_, _>>()
            .context("read a descriptor")
    }

    async fn answer(&mut self) -> Result<MessageResponse, Status> {
        let answer = self
            .answers
            .message()
            .await?
            .and_then(|answer| answer.message_response);
        match answer {
            Some(MessageResponse::ErrorResponse(error)) => Err(Status::new(
                Code::from_i32(error.error_code),
                error.error_message,
            )),
            Some(answer) => Ok(answer),
            None => Err(Status::unavailable("reflection ended without an answer")),
        }
    }
}

async fn send(
    questions: &mpsc::Sender<ServerReflectionRequest>,
    question: MessageRequest,
) -> Result<(), Status> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    let sent = questions.send(request).await;
    sent.map_err(|_| Status::unavailable("reflection ended before the question"))
}

/// Google's own files, which servers often leave out.
fn well_known(name: &str) -> Option<FileDescriptorProto> {
    let file = DescriptorPool::global().get_file_by_name(name)?;
    name.starts_with("google/protobuf/")
        .then(|| file.file_descriptor_proto().clone())
}
