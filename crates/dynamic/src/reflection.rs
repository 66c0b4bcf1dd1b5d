//! Asks gRPC reflection, v1 first and v1alpha where v1 is not known. The two have the same messages
//! on the wire, so one client speaks both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message as _;
use prost_reflect::{DescriptorPool, prost_types::FileDescriptorProto};
use proto::error_info::{self, Reason};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status, Streaming,
    body::Body,
    client::{Grpc, GrpcService},
};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use crate::invoke::BoxError;

/// Bounds on what one service may make us hold.
const MAX_FILES: usize = 1_000;
const MAX_BYTES: usize = 16 << 20;
const MAX_SERVICES: usize = 1_000;

const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const V1_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// Files by their names, each with what it imports.
type Files = BTreeMap<String, (Vec<String>, Bytes)>;

/// One conversation with a reflection service: question, answer, question, answer.
#[derive(Debug)]
pub struct ReflectionClient<T> {
    channel: T,
    path: &'static str,
    stream: Option<(
        mpsc::Sender<ServerReflectionRequest>,
        Streaming<ServerReflectionResponse>,
    )>,
}

impl<T> ReflectionClient<T>
where
    T: GrpcService<Body> + Clone,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
{
    /// Asks nothing yet.
    #[must_use]
    pub const fn new(channel: T) -> Self {
        Self {
            channel,
            path: V1,
            stream: None,
        }
    }

    /// The gRPC services there are, by full name, at most a thousand.
    ///
    /// # Errors
    /// What the other side says; `UNIMPLEMENTED` when it has no reflection.
    pub async fn services(&mut self) -> Result<Vec<String>, Status> {
        let question = MessageRequest::ListServices(String::new());
        let MessageResponse::ListServicesResponse(list) = self.ask(question).await? else {
            return Err(strange());
        };
        let names = list.service.into_iter().map(|service| service.name);
        Ok(names.take(MAX_SERVICES).collect())
    }

    /// The files that define these symbols and what they import, each an encoded
    /// `google.protobuf.FileDescriptorProto`. What nobody knows, or cannot be read, is left out.
    ///
    /// # Errors
    /// When the other side cannot be asked, or tells more than 1,000 files or 16 MiB.
    pub async fn files(&mut self, symbols: &[String]) -> Result<Vec<Bytes>, Status> {
        let mut files = Files::new();
        let (mut asked, mut size) = (BTreeSet::new(), 0);
        let symbols = symbols.iter().cloned();
        let mut questions: VecDeque<_> =
            symbols.map(MessageRequest::FileContainingSymbol).collect();
        loop {
            let Some(question) = questions.pop_front() else {
                let fresh = missing(&files)
                    .into_iter()
                    .filter(|name| asked.insert(name.clone()));
                questions.extend(fresh.map(MessageRequest::FileByFilename));
                if questions.is_empty() {
                    return Ok(files.into_values().map(|(_, bytes)| bytes).collect());
                }
                continue;
            };
            let found = match self.ask(question).await {
                Ok(MessageResponse::FileDescriptorResponse(answer)) => answer.file_descriptor_proto,
                Ok(_) => continue,
                Err(status) if is_about_the_question(&status) => continue,
                Err(status) => return Err(status),
            };
            for bytes in found {
                let Ok(file) = FileDescriptorProto::decode(bytes.as_slice()) else {
                    continue;
                };
                if files.contains_key(file.name()) {
                    continue;
                }
                size += bytes.len();
                files.insert(file.name().to_owned(), (file.dependency, bytes.into()));
            }
            if files.len() > MAX_FILES || size > MAX_BYTES {
                return Err(Status::resource_exhausted(format!(
                    "reflection tells more than {MAX_FILES} files or {MAX_BYTES} bytes"
                )));
            }
        }
    }

    /// The files that describe a symbol. A pool of its own per symbol, since two services of the
    /// mesh may have different files of one name.
    ///
    /// # Errors
    /// `NOT_FOUND` when nobody describes it; as [`ReflectionClient::files`].
    pub async fn pool(&mut self, symbol: &str) -> Result<DescriptorPool, Status> {
        let encoded = self.files(&[symbol.to_owned()]).await?;
        let files = encoded
            .iter()
            .map(|file| FileDescriptorProto::decode(file.clone()));
        let mut files: Vec<FileDescriptorProto> = files.filter_map(Result::ok).collect();
        if files.is_empty() {
            let text = format!("reflection describes no {symbol}");
            let facts = [("symbol", symbol.to_owned())];
            return Err(error_info::status(
                Code::NotFound,
                Reason::UnknownSymbol,
                text,
                facts,
            ));
        }
        let there: BTreeSet<String> = files.iter().map(|file| file.name().to_owned()).collect();
        let global = DescriptorPool::global();
        // Google's own files, which servers often leave out.
        let own = global.files().filter(|file| {
            file.name().starts_with("google/protobuf/") && !there.contains(file.name())
        });
        files.extend(own.map(|file| file.file_descriptor_proto().clone()));
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_protos(files).map_err(|error| {
            let text = format!("the descriptors of {symbol} do not fit together: {error}");
            let facts = [("symbol", symbol.to_owned())];
            error_info::status(
                Code::FailedPrecondition,
                Reason::BadDescriptors,
                text,
                facts,
            )
        })?;
        Ok(pool)
    }

    async fn ask(&mut self, question: MessageRequest) -> Result<MessageResponse, Status> {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(question),
        };
        let mut answer = self.exchange(request.clone()).await;
        let unknown = |error: &Status| error.code() == Code::Unimplemented;
        if self.path == V1 && answer.as_ref().is_err_and(unknown) {
            self.path = V1_ALPHA;
            answer = self.exchange(request).await;
        }
        match answer?.message_response {
            Some(MessageResponse::ErrorResponse(error)) => Err(Status::new(
                Code::from_i32(error.error_code),
                error.error_message,
            )),
            Some(answer) => Ok(answer),
            None => Err(strange()),
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
        grpc.ready()
            .await
            .map_err(|error| Status::from_error(error.into()))?;
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

/// The imports that no file of the set answers.
fn missing(files: &Files) -> BTreeSet<String> {
    let imports = files.values().flat_map(|(imports, _)| imports);
    let missing = imports.filter(|import| !files.contains_key(*import));
    missing.cloned().collect()
}

/// Whether an error is the answer to one question, so that the next may fare better.
fn is_about_the_question(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::InvalidArgument)
}

fn ended() -> Status {
    Status::unavailable("reflection ended without an answer")
}

fn strange() -> Status {
    Status::internal("reflection answered another question")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_imported_and_not_there_is_missing() {
        let file = |name: &str, imports: &[&str]| {
            let imports = imports.iter().map(|&import| import.to_owned()).collect();
            (name.to_owned(), (imports, Bytes::new()))
        };
        let files = Files::from([
            file("a.proto", &["b.proto", "gone.proto"]),
            file("b.proto", &["gone.proto"]),
        ]);
        assert!(missing(&files).iter().eq(["gone.proto"]));
    }
}
