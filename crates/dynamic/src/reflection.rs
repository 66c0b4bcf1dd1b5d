//! A client of gRPC reflection: v1, and v1alpha for servers without v1. The two have the same messages
//! on the wire.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool,
    prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto},
};
use proto::error_info::{self, Reason};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming, body::Body, client::GrpcService};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use crate::{
    FilePool,
    invoke::{BoxError, exchange},
};

/// Limits of what is kept of one service.
const MAX_FILES: usize = 1_000;
const MAX_BYTES: usize = 16 << 20;
const MAX_SERVICES: usize = 1_000;
/// Bytes of all full names together. Whoever keeps descriptors keeps those, and deep names make many of
/// few bytes.
const MAX_NAMES: usize = 16 << 20;

const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const V1_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// Files by name, each with its imports.
type Files = BTreeMap<String, (Vec<String>, Bytes)>;

/// A client of a reflection service. It asks one question at a time on one stream.
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
    /// A client over `channel`. Nothing is sent yet.
    #[must_use]
    pub const fn new(channel: T) -> Self {
        Self {
            channel,
            path: V1,
            stream: None,
        }
    }

    /// The full names of the gRPC services, at most a thousand.
    ///
    /// # Errors
    /// The server's status; `UNIMPLEMENTED` when it has no reflection.
    pub async fn services(&mut self) -> Result<Vec<String>, Status> {
        let question = MessageRequest::ListServices(String::new());
        let MessageResponse::ListServicesResponse(list) = self.ask(question).await? else {
            return Err(mismatched());
        };
        let names = list.service.into_iter().map(|service| service.name);
        Ok(names.take(MAX_SERVICES).collect())
    }

    /// The files that define these symbols, and their imports, each an encoded
    /// `google.protobuf.FileDescriptorProto`. Unknown symbols and unreadable files are left out.
    ///
    /// # Errors
    /// When the server does not answer, or sends more than 1,000 files, 16 MiB, or 16 MiB of full names.
    pub async fn files(&mut self, symbols: &[String]) -> Result<Vec<Bytes>, Status> {
        let mut files = Files::new();
        let (mut asked, mut size, mut names) = (BTreeSet::new(), 0, 0);
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
                names += names_size(&file);
                files.insert(file.name().to_owned(), (file.dependency, bytes.into()));
            }
            if files.len() > MAX_FILES || size > MAX_BYTES || names > MAX_NAMES {
                return Err(Status::resource_exhausted(format!(
                    "reflection sends more than {MAX_FILES} files, {MAX_BYTES} bytes, or {MAX_NAMES} bytes of \
                     full names"
                )));
            }
        }
    }

    /// The files that describe a symbol, in a pool of its own: two services of the mesh may have
    /// different files of one name.
    ///
    /// # Errors
    /// `NOT_FOUND` for an unknown symbol, `FAILED_PRECONDITION` when its files do not fit together;
    /// else as [`ReflectionClient::files`].
    pub async fn pool(&mut self, symbol: &str) -> Result<DescriptorPool, Status> {
        let encoded = self.files(&[symbol.to_owned()]).await?;
        if encoded.is_empty() {
            let text = format!("reflection describes no {symbol}");
            let facts = [("symbol", symbol.to_owned())];
            let (code, reason) = (Code::NotFound, Reason::UnknownSymbol);
            return Err(error_info::status(code, reason, text, facts));
        }
        let files = FilePool::new(&encoded);
        match files.problem() {
            Some(problem) if !files.has(symbol) => {
                let text = format!("the descriptors of {symbol} do not fit together: {problem}");
                let facts = [("symbol", symbol.to_owned())];
                let (code, reason) = (Code::FailedPrecondition, Reason::BadDescriptors);
                Err(error_info::status(code, reason, text, facts))
            }
            _ => Ok(files.pool),
        }
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
            None => Err(mismatched()),
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

    /// Opens the stream with its first question: some servers send no headers before their first
    /// answer. After an error the stream is not used again, since servers end it then.
    async fn open(
        &mut self,
        request: ServerReflectionRequest,
    ) -> Result<ServerReflectionResponse, Status> {
        let (sender, questions) = mpsc::channel(1);
        sender.send(request).await.map_err(|_| ended())?;
        let (channel, path) = (self.channel.clone(), PathAndQuery::from_static(self.path));
        let questions = Request::new(ReceiverStream::new(questions));
        let codec = ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
        let answers = exchange(channel, path, codec, questions, MAX_BYTES).await?;
        let mut answers = answers.into_inner();
        let answer = answers.message().await?.ok_or_else(ended)?;
        self.stream = Some((sender, answers));
        Ok(answer)
    }
}

/// Bytes of the full names of what a file defines.
fn names_size(file: &FileDescriptorProto) -> usize {
    let package = file.package().len();
    let messages = file
        .message_type
        .iter()
        .map(|it| message_names(package, it));
    let enums = file.enum_type.iter().map(|it| enum_names(package, it));
    let extensions = file.extension.iter().map(|it| package + it.name().len());
    let services = file.service.iter().map(|service| {
        let full = package + service.name().len();
        let methods = service.method.iter().map(|it| full + it.name().len());
        full + methods.sum::<usize>()
    });
    let all = messages.chain(enums).chain(extensions).chain(services);
    all.sum()
}

fn message_names(scope: usize, message: &DescriptorProto) -> usize {
    let full = scope + 1 + message.name().len();
    let fields = message.field.iter().chain(&message.extension);
    let fields = fields.map(|it| full + it.name().len());
    let oneofs = message.oneof_decl.iter().map(|it| full + it.name().len());
    let enums = message.enum_type.iter().map(|it| enum_names(full, it));
    // Nested no deeper than what was decoded.
    let nested = message.nested_type.iter().map(|it| message_names(full, it));
    full + fields
        .chain(oneofs)
        .chain(enums)
        .chain(nested)
        .sum::<usize>()
}

fn enum_names(scope: usize, of: &EnumDescriptorProto) -> usize {
    let values = of.value.iter().map(|it| scope + it.name().len());
    scope + of.name().len() + values.sum::<usize>()
}

/// The imports that are not in the set.
fn missing(files: &Files) -> BTreeSet<String> {
    let imports = files.values().flat_map(|(imports, _)| imports);
    let missing = imports.filter(|import| !files.contains_key(*import));
    missing.cloned().collect()
}

/// Whether an error answers one question only, so that the next may succeed.
fn is_about_the_question(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::InvalidArgument)
}

fn ended() -> Status {
    Status::unavailable("reflection ended without an answer")
}

fn mismatched() -> Status {
    Status::internal("reflection answered another question")
}

#[cfg(test)]
mod tests {
    use prost_reflect::prost_types::FieldDescriptorProto;

    use super::*;

    #[test]
    fn deep_names_count_as_often_as_they_are_kept() {
        let field = FieldDescriptorProto {
            name: Some("f".to_owned()),
            ..FieldDescriptorProto::default()
        };
        let mut message = DescriptorProto {
            name: Some("x".repeat(1_000)),
            field: vec![field; 2_000],
            ..DescriptorProto::default()
        };
        for _ in 0..10 {
            message = DescriptorProto {
                name: Some("x".repeat(1_000)),
                nested_type: vec![message],
                ..DescriptorProto::default()
            };
        }
        let file = FileDescriptorProto {
            message_type: vec![message],
            ..FileDescriptorProto::default()
        };
        assert!(file.encoded_len() < 40_000, "{}", file.encoded_len());
        assert!(names_size(&file) > MAX_NAMES);
    }

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
