//! A conversation: rounds of questions and function calls until there is an answer.

use std::{fmt, sync::Arc};

use serde_json::Value;

use crate::{
    Error, Model, TextSink,
    client::Round,
    stream::Completion,
    wire::{Function, FunctionCall, Message},
};

/// Functions that a model may call.
#[async_trait::async_trait]
pub trait Functions: fmt::Debug + Send + Sync {
    /// The functions.
    fn definitions(&self) -> &[Function];

    /// Calls one. A failure is a result too: the model reads it, and may call again.
    async fn call(&self, name: &str, arguments: &str) -> String;
}

/// What a conversation used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Questions that were answered, also by the cache.
    pub requests: u64,
    /// Questions that the cache answered; they cost no tokens.
    pub cache_hits: u64,
    /// Tokens sent.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Whether the endpoint did not count, so that tokens are estimated at four bytes each.
    pub estimated: bool,
    /// Functions called.
    pub function_calls: u64,
}

/// The end of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The model's last words.
    pub text: String,
    /// Whether they end because `model_max_tokens` was reached.
    pub truncated: bool,
    /// What the conversation used.
    pub usage: Usage,
}

impl Usage {
    fn add(&mut self, sent: usize, written: usize, tokens: Option<(u64, u64)>) {
        let estimate = |bytes: usize| u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX);
        self.estimated |= tokens.is_none();
        let (prompt, completion) = tokens.unwrap_or((estimate(sent), estimate(written)));
        self.prompt_tokens += prompt;
        self.completion_tokens += completion;
    }
}

impl Reply {
    fn new(answer: &Completion, usage: Usage) -> Self {
        Self {
            text: answer.content.clone(),
            truncated: answer.is_truncated(),
            usage,
        }
    }
}

impl Model {
    /// Asks, calls the functions that the model wants called, and asks again with their results,
    /// until it answers without calling any. In the last round it may call none.
    ///
    /// # Errors
    /// When the endpoint gives no answer.
    pub async fn converse(
        &self,
        mut messages: Vec<Message>,
        functions: &dyn Functions,
        sink: &dyn TextSink,
    ) -> Result<Reply, Error> {
        let mut usage = Usage::default();
        let offered = functions.definitions();
        for number in 1..=self.keys.model_rounds {
            let closed = number == self.keys.model_rounds;
            let mut round = Round {
                messages: &messages,
                functions: offered,
                closed,
            };
            // Endpoints refuse a history with calls of functions that are not offered.
            if closed && !round.has_calls() {
                round.functions = &[];
            }
            let (answer, mut message) = self.round(round, sink, &mut usage).await?;
            if message.tool_calls.is_empty() {
                return Ok(Reply::new(&answer, usage));
            }
            if closed {
                break;
            }
            let results = call_all(functions, &mut message, number).await;
            usage.function_calls += u64::try_from(results.len()).unwrap_or(u64::MAX);
            messages.push(message);
            messages.extend(results);
        }
        // An endpoint that ignores `tool_choice` is asked without functions, if it accepts that.
        let round = Round {
            messages: &messages,
            functions: &[],
            closed: true,
        };
        match self.round(round, sink, &mut usage).await {
            Ok((answer, _)) if answer.calls.is_empty() => Ok(Reply::new(&answer, usage)),
            Ok(_) | Err(Error::Rejected { .. }) => {
                Err(Error::TooManyRounds(self.keys.model_rounds))
            }
            Err(error) => Err(error),
        }
    }

    /// One round: its answer, and that as a message of the conversation.
    async fn round(
        &self,
        round: Round<'_>,
        sink: &dyn TextSink,
        usage: &mut Usage,
    ) -> Result<(Arc<Completion>, Message), Error> {
        let (answer, cached) = self.ask(round, sink).await?;
        usage.requests += 1;
        if cached {
            usage.cache_hits += 1;
        } else {
            let sent = round.messages.iter();
            let sent = sent.map(|m| m.content.as_ref().map_or(0, String::len));
            usage.add(sent.sum(), answer.bytes(), answer.tokens);
        }
        let message = Message {
            role: "assistant".to_owned(),
            // Some endpoints refuse a text that is empty.
            content: Some(answer.content.clone()).filter(|content| !content.is_empty()),
            tool_calls: answer.calls.clone(),
            tool_call_id: None,
            reasoning: answer.reasoning.clone(),
        };
        Ok((answer, message))
    }
}

/// Calls the functions that a message asks for. It corrects the message, so that every endpoint
/// accepts it back: each call gets its own id, and an object as its arguments.
async fn call_all(functions: &dyn Functions, message: &mut Message, round: u32) -> Vec<Message> {
    let mut results = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    for (index, call) in message.tool_calls.iter_mut().enumerate() {
        if call.id.is_empty() || ids.contains(&call.id) {
            // Nine letters and digits, which is what Mistral takes.
            call.id = format!("call{:03}{:02}", round % 1000, index % 100);
        }
        ids.push(call.id.clone());
        let FunctionCall { name, arguments } = &mut call.function;
        let offered = functions.definitions();
        let result = match offered.iter().any(|offered| offered.name == *name) {
            true => functions.call(name, arguments).await,
            false => format!("error: there is no function {name:?}"),
        };
        let object = serde_json::from_str::<Value>(arguments);
        if !matches!(object, Ok(Value::Object(_))) {
            *arguments = "{}".to_owned();
        }
        results.push(Message::result(&call.id, result));
    }
    results
}
