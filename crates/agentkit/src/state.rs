//! What all tasks of an agent share: its model, if one is configured, and the mesh with its tools.

use std::{collections::BTreeMap, time::Duration};

use config::{Group, duration, keys};
use model::{Model, Reply, TextSink, wire::Message};
use service::Context;

use crate::{Task, TaskError, Toolbox, functions::MeshFunctions};

keys! {
    /// How an agent calls tools.
    #[derive(Clone, Debug)]
    pub(crate) struct ToolKeys: "Calls to tools" {
        /// Longest time for one call to a tool.
        tool_timeout: Duration = duration("15s").zero("every call fails"),
    }
}

/// The keys of an agent that has a model and calls tools.
pub(crate) const AGENT_KEYS: &[Group] = &[model::ModelKeys::GROUP, ToolKeys::GROUP];

/// The model of an agent, if it has one, and the mesh with its tools.
#[derive(Debug)]
pub(crate) struct AgentState {
    model: Option<Model>,
    mesh: channel::Mesh,
    tool_timeout: Duration,
}

impl AgentState {
    /// The state that [`AGENT_KEYS`] describe.
    pub(crate) fn new(context: &Context) -> Result<Self, model::Error> {
        Ok(Self {
            model: Model::from_config(&context.config)?
                .map(|model| model.measured(&context.registry)),
            mesh: context.mesh.clone(),
            tool_timeout: ToolKeys::from_config(&context.config).tool_timeout,
        })
    }

    /// The tools of a task; `default` when it names none.
    pub(crate) fn toolbox(&self, task: &Task, default: &[&str]) -> Toolbox {
        let tools = match task.tools.is_empty() {
            true => default.iter().map(|tool| (*tool).to_owned()).collect(),
            false => task.tools.clone(),
        };
        Toolbox::new(self.mesh.clone(), tools, &task.session, self.tool_timeout)
    }

    /// The line of a document that says how it was made.
    pub(crate) fn provenance(&self) -> String {
        match &self.model {
            Some(model) => {
                let name = model.name();
                format!("_summed up by the model {name}; quotations are verbatim_")
            }
            None => "_extractive, no model configured: everything quoted stands in its source, \
                nothing is rephrased_"
                .to_owned(),
        }
    }

    /// Asks the model, which may call the task's tools; `None` without one. Its text goes to `sink`
    /// as it is written.
    pub(crate) async fn ask_model(
        &self,
        toolbox: &Toolbox,
        sink: &dyn TextSink,
        prompt: &str,
        question: String,
    ) -> Result<Option<Reply>, TaskError> {
        let Some(model) = &self.model else {
            return Ok(None);
        };
        let functions = MeshFunctions::list(toolbox).await;
        let messages = vec![Message::system(prompt), Message::user(question)];
        // Boxed: a request's future is large.
        let reply = Box::pin(model.converse(messages, &functions, sink)).await;
        reply.map(Some).map_err(TaskError::from)
    }

    /// The answer's metadata about how it was made.
    pub(crate) fn usage_metadata(
        &self,
        toolbox: &Toolbox,
        reply: Option<&Reply>,
    ) -> BTreeMap<&'static str, String> {
        let usage = reply.map(|reply| reply.usage).unwrap_or_default();
        let (mode, name) = match &self.model {
            Some(model) => ("model", model.name()),
            None => ("extractive", "none"),
        };
        let only_hits = usage.requests > 0 && usage.cache_hits == usage.requests;
        let mut facts = BTreeMap::from([
            ("mode", mode.to_owned()),
            ("llm_model", name.to_owned()),
            ("cache_hit", only_hits.to_string()),
        ]);
        let counts = [
            ("llm_calls", usage.requests),
            ("cache_hits", usage.cache_hits),
            ("prompt_tokens", usage.prompt_tokens),
            ("completion_tokens", usage.completion_tokens),
            ("tokens_used", usage.prompt_tokens + usage.completion_tokens),
            ("tool_calls", toolbox.call_count()),
        ];
        facts.extend(counts.map(|(name, count)| (name, count.to_string())));
        if usage.estimated {
            facts.insert("tokens_estimated", "true".to_owned());
        }
        facts
    }
}

impl From<model::Error> for TaskError {
    fn from(error: model::Error) -> Self {
        let message = error.to_string();
        let retry_after = match error {
            model::Error::RetryAfter(_, wait) => Some(wait),
            model::Error::Unavailable(_) | model::Error::Timeout => None,
            _ => return Self::Invalid(message),
        };
        // All attempts at the model are used: a retry of the task repeats them.
        Self::ModelUnavailable {
            message,
            retry_after,
        }
    }
}
