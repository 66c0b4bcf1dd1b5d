//! An agent whose output is a document: parts that it gathers, and one that a model writes.

use std::fmt;

use model::TextSink;
use parking_lot::Mutex;
use service::{Context, Services, Spec};

use crate::{
    About, Agent, OutputStream, Task, TaskError, TaskOutcome, Toolbox,
    state::{AGENT_KEYS, AgentState},
    text::{one_line, truncate},
};

/// Longest title, characters.
const MAX_TITLE: usize = 200;

/// What the specs of such agents have in common, for `..agentkit::DOCUMENT_AGENT`.
pub const DOCUMENT_AGENT: Spec = Spec {
    idempotent: &["*"],
    keys: &[service::GRPC, service::CALLS, AGENT_KEYS],
    ..crate::AGENT
};

/// An agent that writes a document.
#[async_trait::async_trait]
pub trait DocumentAgent: fmt::Debug + Send + Sync + 'static {
    /// Its description.
    const ABOUT: About;
    /// The word before the goal in the title: `Notes`.
    const TITLE: &'static str;
    /// What the goal has to say; it completes "say …".
    const EXPECTS: &'static str;
    /// The tools of a task that names none.
    const DEFAULT_TOOLS: &'static [&'static str];
    /// The system prompt of a model.
    const PROMPT: &'static str;
    /// The heading of the model's part; empty without one.
    const HEADING: &'static str = "";

    /// Gathers the parts that are not the model's.
    ///
    /// # Errors
    /// When the task is wrong, or a tool that it needs does not answer.
    async fn draft(&self, task: &Task, goal: &str, toolbox: &Toolbox) -> Result<Draft, TaskError>;
}

/// A document without the model's part.
#[derive(Debug, Default)]
pub struct Draft {
    /// The text between the title and the model's part.
    pub before: String,
    /// The text after the model's part.
    pub after: String,
    /// A question to the model.
    pub question: String,
    /// Facts for the answer's metadata.
    pub facts: Vec<(&'static str, String)>,
}

/// Serves an agent that writes documents.
///
/// # Errors
/// When the keys of the model are not valid.
pub fn serve<A: DocumentAgent>(context: &Context, agent: A) -> anyhow::Result<Services> {
    let state = AgentState::new(context)?;
    let writer = Writer { agent, state };
    Ok(crate::serve_agent(context, A::ABOUT, writer))
}

#[derive(Debug)]
struct Writer<A> {
    agent: A,
    state: AgentState,
}

#[async_trait::async_trait]
impl<A: DocumentAgent> Agent for Writer<A> {
    async fn run(&self, task: &Task, stream: &OutputStream) -> Result<TaskOutcome, TaskError> {
        let goal = task.require_goal(A::EXPECTS)?;
        let toolbox = self.state.toolbox(task, A::DEFAULT_TOOLS);
        let draft = self.agent.draft(task, goal, &toolbox).await?;
        let title = truncate(&one_line(goal), MAX_TITLE);
        let (provenance, before) = (self.state.provenance(), draft.before);
        let mut output = format!("# {}: {title}\n\n{provenance}\n\n{before}", A::TITLE);
        stream.send(output.clone()).await;
        let part = ModelPart::new(stream, A::HEADING);
        let asked = self
            .state
            .ask_model(&toolbox, &part, A::PROMPT, draft.question);
        let reply = asked.await?;
        if let Some(reply) = &reply {
            output.push_str(&part.finish(&reply.text));
            output.push('\n');
            if !draft.after.is_empty() {
                output.push('\n');
            }
        }
        output.push_str(&draft.after);
        let mut metadata = self.state.usage_metadata(&toolbox, reply.as_ref());
        metadata.extend(draft.facts);
        Ok(TaskOutcome { output, metadata })
    }
}

/// The model's part of a document while a caller reads it. It begins with the heading and has no spaces
/// at its end: what was sent stays the beginning of the output.
struct ModelPart<'a> {
    stream: &'a OutputStream,
    heading: &'static str,
    sent: Mutex<Sent>,
}

#[derive(Default)]
struct Sent {
    text: String,
    /// Spaces that are sent when text follows.
    spaces: String,
}

impl<'a> ModelPart<'a> {
    fn new(stream: &'a OutputStream, heading: &'static str) -> Self {
        Self {
            stream,
            heading,
            sent: Mutex::default(),
        }
    }

    /// The whole part: what a reader was sent, text before calls of tools included, or else the
    /// model's last words.
    fn finish(self, reply: &str) -> String {
        match self.sent.into_inner().text {
            sent if sent.is_empty() => format!("{}{}", self.heading, reply.trim_end()),
            sent => sent,
        }
    }
}

#[async_trait::async_trait]
impl TextSink for ModelPart<'_> {
    async fn send(&self, piece: &str) {
        if !self.has_reader() {
            return;
        }
        let ready = {
            let mut sent = self.sent.lock();
            let all = std::mem::take(&mut sent.spaces) + piece;
            let (text, spaces) = all.split_at(all.trim_end().len());
            spaces.clone_into(&mut sent.spaces);
            let heading = match sent.text.is_empty() && !text.is_empty() {
                true => self.heading,
                false => "",
            };
            let ready = format!("{heading}{text}");
            sent.text.push_str(&ready);
            ready
        };
        if !ready.is_empty() {
            self.stream.send(ready).await;
        }
    }

    fn has_reader(&self) -> bool {
        self.stream.has_reader()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_reader_is_sent_is_the_part_without_its_last_spaces() {
        let (stream, mut pieces) = OutputStream::channel();
        let part = ModelPart::new(&stream, "## Remarks\n\n");
        for piece in ["", " ", "- one \n", "\n", "- two", " \n\n"] {
            part.send(piece).await;
        }
        let whole = part.finish("- two");
        assert_eq!(whole, "## Remarks\n\n - one \n\n- two");
        drop(stream);
        let mut sent = String::new();
        while let Some(piece) = pieces.recv().await {
            assert!(!piece.is_empty());
            sent.push_str(&piece);
        }
        assert_eq!(sent, whole);
    }

    #[tokio::test]
    async fn without_a_reader_the_part_is_the_last_words() {
        let stream = OutputStream::discard();
        let part = ModelPart::new(&stream, "");
        part.send("Let me look.").await;
        assert_eq!(part.finish("Found. \n"), "Found.");
    }
}
