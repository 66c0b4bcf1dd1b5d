//! A conversation: rounds of questions and function calls until there is an answer.

use std::fmt;

use crate::{
    Error, Model,
    wire::{Function, Message},
};

/// Functions that a model may call.
#[async_trait::async_trait]
pub trait Functions: fmt::Debug + Send + Sync {
    /// Those there are.
    fn offered(&self) -> &[Function];

    /// Calls one. What goes wrong is told to the model as the result: it may do better.
    async fn call(&self, name: &str, arguments: &str) -> String;
}

/// Hears text as the model writes it.
#[async_trait::async_trait]
pub trait Listener: Send + Sync {
    /// The next piece.
    async fn text(&self, piece: &str);
}

/// Nobody listens.
#[async_trait::async_trait]
impl Listener for () {
    async fn text(&self, _piece: &str) {}
}

/// What a conversation used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Questions that were answered, by the cache too.
    pub requests: u64,
    /// Those of them that the cache answered; they cost no tokens.
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

/// What a conversation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The model's last words.
    pub text: String,
    /// Whether they end because `model_max_tokens` was reached.
    pub cut: bool,
    /// What they cost.
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

impl Model {
    /// Asks, calls the functions that the model wants called, and asks again with their results,
    /// until it answers without calling any. In the last round it is offered none.
    ///
    /// # Errors
    /// When the endpoint gives no answer.
    pub async fn converse(
        &self,
        mut messages: Vec<Message>,
        functions: &dyn Functions,
        listener: &dyn Listener,
    ) -> Result<Reply, Error> {
        let mut usage = Usage::default();
        for round in 1..=self.settings.rounds {
            let last = round == self.settings.rounds;
            let offered: &[Function] = if last { &[] } else { functions.offered() };
            let (answer, cached) = self.ask(&messages, offered, listener).await?;
            usage.requests += 1;
            if cached {
                usage.cache_hits += 1;
            } else {
                let sent = messages
                    .iter()
                    .map(|m| m.content.as_ref().map_or(0, String::len));
                usage.add(sent.sum(), answer.bytes(), answer.tokens);
            }
            if answer.calls.is_empty() {
                return Ok(Reply {
                    text: answer.content.clone(),
                    cut: answer.finish.as_deref() == Some("length"),
                    usage,
                });
            }
            if last {
                break;
            }
            messages.push(Message {
                role: "assistant".to_owned(),
                content: Some(answer.content.clone()),
                tool_calls: answer.calls.clone(),
                tool_call_id: None,
            });
            for call in &answer.calls {
                usage.function_calls += 1;
                let name = &call.function.name;
                let result = match offered.iter().any(|function| function.name == *name) {
                    true => functions.call(name, &call.function.arguments).await,
                    false => format!("error: there is no function {name:?}"),
                };
                messages.push(Message::result(&call.id, result));
            }
        }
        Err(Error::Rounds(self.settings.rounds))
    }
}
