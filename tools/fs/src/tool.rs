//! The operations of the fs tool.

use agentkit::{About, Invocation, InvocationError, Operation, Parameter, Tool};
use proto::error_info::{self, Reason};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    path::{Path, RunId},
    sandbox::{Error, Sandbox},
};

pub(crate) const ABOUT: About = About {
    name: "File Tool",
    description: "Files in a directory of the run: written whole, read back, listed",
    how_it_works: "The session_id names the run, whose files are in a directory of OUT_DIR. Paths \
        are relative, and no .., absolute path, hidden file or link is accepted. A write replaces \
        the whole file at once, and is on disk when it is answered. Instances share the directory.",
    return_format: "result is a JSON object: path and bytes; file_read_safe adds content; \
        file_append_numbered adds seq; file_list gives files, an array of path and bytes",
    use_cases: &[
        "Keep the artifacts of a pipeline's run",
        "Hand a text from one agent to the next",
        "Keep a log of what a run did",
    ],
    operations: &[
        Operation::new(
            "file_write_safe",
            "writes content to path, in place of what was there",
        )
        .taking(&[PATH, CONTENT])
        .writes(true)
        .idempotent(true)
        .answering(WRITTEN_SCHEMA),
        Operation::new("file_read_safe", "the content of the file at path")
            .taking(&[PATH])
            .read_only()
            .answering(CONTENT_SCHEMA),
        Operation::new(
            "file_append_line",
            "appends content as one line to path, unless it is the last line already",
        )
        .taking(&[PATH, CONTENT])
        .writes(false)
        .idempotent(true)
        .answering(WRITTEN_SCHEMA),
        Operation::new(
            "file_append_numbered",
            "appends content, a JSON object, as one line that gets the next seq, which is \
                answered; one that is there already is not appended again",
        )
        .taking(&[PATH, CONTENT])
        .writes(false)
        .idempotent(true)
        .answering(NUMBERED_SCHEMA),
        Operation::new("file_list", "the files of the run")
            .taking(&[])
            .read_only()
            .answering(LIST_SCHEMA),
    ],
    parameters: &[
        Parameter::optional(
            "path",
            "string",
            "the file, relative, such as notes.md; file_list needs none",
        ),
        Parameter::optional("content", "string", "what to write, UTF-8"),
    ],
    ..About::EMPTY
};

const PATH: Parameter =
    Parameter::required("path", "string", "the file, relative, such as notes.md");
const CONTENT: Parameter = Parameter::required("content", "string", "what to write, UTF-8");

const WRITTEN_SCHEMA: &str = r#"{"type": "object", "required": ["path", "bytes"],
    "properties": {
        "path": {"type": "string"},
        "bytes": {"type": "integer", "description": "how many were written"}}}"#;
const NUMBERED_SCHEMA: &str = r#"{"type": "object", "required": ["path", "bytes", "seq"],
    "properties": {
        "path": {"type": "string"},
        "bytes": {"type": "integer", "description": "how many were written"},
        "seq": {"type": "integer", "description": "the number of the line"}}}"#;
const CONTENT_SCHEMA: &str = r#"{"type": "object", "required": ["path", "bytes", "content"],
    "properties": {
        "path": {"type": "string"},
        "bytes": {"type": "integer"},
        "content": {"type": "string"}}}"#;
const LIST_SCHEMA: &str = r#"{"type": "object", "required": ["files"],
    "properties": {"files": {"type": "array", "items": {"type": "object", "required": ["path", "bytes"],
        "properties": {"path": {"type": "string"}, "bytes": {"type": "integer"}}}}}}"#;

/// The tool over a sandbox.
#[derive(Debug)]
pub(crate) struct Fs(pub(crate) Sandbox);

#[async_trait::async_trait]
impl Tool for Fs {
    async fn run(&self, call: Invocation) -> Result<String, InvocationError> {
        let sandbox = self.0.clone();
        // Disk access blocks, and the runtime's threads have other calls.
        let done = tokio::task::spawn_blocking(move || carry_out(&sandbox, &call)).await;
        let done = done.unwrap_or_else(|_| Err(InvocationError::Rejected("cancelled".to_owned())));
        done.map(|answer| answer.to_string())
    }
}

fn carry_out(sandbox: &Sandbox, call: &Invocation) -> Result<Value, InvocationError> {
    let run = RunId::parse(&call.session).map_err(Error::from)?;
    let path = || -> Result<Path, InvocationError> {
        let expected = "a relative path such as notes.md";
        let text = call.parameters.required("path", expected)?;
        Ok(Path::parse(text).map_err(Error::from)?)
    };
    let content = || -> Result<&str, InvocationError> {
        Ok(call.parameters.required("content", "what to write")?)
    };
    match call.operation.as_str() {
        "file_write_safe" => {
            let (path, content) = (path()?, content()?);
            sandbox.write(&run, &path, content.as_bytes())?;
            Ok(json!({"path": path.to_string(), "bytes": content.len()}))
        }
        "file_read_safe" => {
            let path = path()?;
            let content = sandbox.read(&run, &path)?;
            Ok(json!({"path": path.to_string(), "bytes": content.len(), "content": content}))
        }
        "file_append_numbered" => {
            let (path, object) = (path()?, one_line(content()?)?);
            let seq = sandbox.append_numbered(&run, &path, object)?;
            Ok(json!({"path": path.to_string(), "bytes": object.len() + 1, "seq": seq}))
        }
        "file_append_line" => {
            let (path, line) = (path()?, one_line(content()?)?);
            sandbox.append_line(&run, &path, line)?;
            Ok(json!({"path": path.to_string(), "bytes": line.len() + 1}))
        }
        "file_list" => {
            let files = sandbox.list(&run)?.into_iter();
            let files = files.map(|file| json!({"path": file.path, "bytes": file.bytes}));
            Ok(json!({"files": files.collect::<Vec<_>>()}))
        }
        _ => Err(call.unknown_operation(&ABOUT)),
    }
}

fn one_line(content: &str) -> Result<&str, InvocationError> {
    if content.contains(['\n', '\r']) {
        let problem = "parameter `content` has several lines: give one";
        return Err(InvocationError::Rejected(problem.to_owned()));
    }
    Ok(content)
}

impl From<Error> for InvocationError {
    fn from(error: Error) -> Self {
        match error {
            // The request is valid: a retry may succeed, at another instance or later.
            Error::Io { .. } => {
                error_info::status(Code::Internal, Reason::Disk, error.to_string(), []).into()
            }
            other => Self::Rejected(other.to_string()),
        }
    }
}
