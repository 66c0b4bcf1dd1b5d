//! A session: begun by the client, kept here, begun anew where the endpoint has lost it.

use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderValue},
};
use serde_json::Value;
use tokio::{sync::Mutex as AsyncMutex, time::sleep};

use super::{Bridge, Shared, is_unknown_session};
use crate::mcp::{
    endpoint::{Answer, Endpoint},
    replies::{self, Replies},
};

/// The session that the client has begun.
#[derive(Debug, Default)]
pub(super) struct Session {
    open: Shared<Option<Open>>,
    /// Held by who begins it anew.
    restoring: AsyncMutex<()>,
}

#[derive(Clone, Debug)]
struct Open {
    /// The client's first message.
    initialize: String,
    /// Its second one, once it has come.
    initialized: Option<String>,
    id: Option<HeaderValue>,
    version: Option<HeaderValue>,
}

impl Session {
    pub(super) fn is_open(&self) -> bool {
        self.open.lock().is_some()
    }

    fn id(&self) -> Option<HeaderValue> {
        self.open.lock().as_ref()?.id.clone()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(open) = &*self.open.lock() {
            for (name, value) in [
                ("mcp-session-id", &open.id),
                ("mcp-protocol-version", &open.version),
            ] {
                if let Some(value) = value {
                    headers.insert(name, value.clone());
                }
            }
        }
        headers
    }

    fn begin(&self, initialize: String, id: Option<&str>, agreed: &Value) {
        let version = agreed["protocolVersion"].as_str();
        let value = |text: &str| HeaderValue::from_str(text).ok();
        *self.open.lock() = Some(Open {
            initialize,
            initialized: None,
            id: id.and_then(value),
            version: version.and_then(value),
        });
    }

    pub(super) async fn end(&self, endpoint: &Endpoint) {
        if self.id().is_some() {
            // The endpoint ends an idle session by itself.
            endpoint.delete(self.headers()).await.ok();
        }
    }
}

impl Bridge {
    pub(super) async fn initialize(&self, line: String, message: &Value) {
        match self.greet(&line, &message["id"]).await {
            Ok((session, text, answer)) => {
                if answer.get("result").is_some() {
                    self.session
                        .begin(line, session.as_deref(), &answer["result"]);
                }
                self.tell(text).await;
            }
            Err(error) => self.fail(message, &error).await,
        }
    }

    /// The id of the new session, and the answer.
    async fn greet(
        &self,
        line: &str,
        id: &Value,
    ) -> anyhow::Result<(Option<String>, String, Value)> {
        let answer = self.post(line, HeaderMap::new()).await?;
        let session = answer.header("mcp-session-id");
        let mut replies = Replies::new(&self.endpoint, answer, id, None);
        loop {
            let reply = replies.next().await?;
            if reply.is_answer {
                return Ok((session, reply.text, reply.value));
            }
            self.tell(reply.text).await;
        }
    }

    /// Sends what is not answered. A failure is told by the next request.
    pub(super) async fn notify(&self, line: String, message: &Value) {
        if message["method"] == "notifications/initialized"
            && let Some(open) = &mut *self.session.open.lock()
        {
            open.initialized = Some(line.clone());
        }
        self.post(&line, self.session.headers()).await.ok();
    }

    /// Carries a request, a batch, or an answer to the endpoint's own request.
    pub(super) async fn legacy(&self, line: String, message: Value) {
        let before = self.session.id();
        let mut carried = self.carry_within(&line, &message).await;
        if carried.as_ref().is_err_and(is_unknown_session) && before.is_some() {
            carried = match self.restore(before).await {
                Ok(()) => self.carry_within(&line, &message).await,
                Err(error) => Err(error),
            };
        }
        if let Err(error) = carried {
            self.fail(&message, &error).await;
        }
    }

    async fn carry_within(&self, line: &str, message: &Value) -> anyhow::Result<()> {
        let answer = self.post(line, self.session.headers()).await?;
        if self.session.id().is_some() && answer.status() == StatusCode::NOT_FOUND {
            return Err(replies::refused(&answer, &self.endpoint, ""));
        }
        let is_request = message["method"].is_string();
        if !is_request && !message.is_array() {
            return Ok(());
        }
        if message.is_array() {
            return self.batch(answer).await;
        }
        let resume = Some(self.session.headers());
        let mut replies = Replies::new(&self.endpoint, answer, &message["id"], resume);
        loop {
            let reply = replies.next().await?;
            self.tell(reply.text).await;
            if reply.is_answer {
                return Ok(());
            }
        }
    }

    /// The answers to a batch, as they come.
    async fn batch(&self, mut answer: Answer) -> anyhow::Result<()> {
        if !answer.status().is_success() {
            let body = answer.next().await?.unwrap_or_default();
            return Err(replies::refused(&answer, &self.endpoint, &body));
        }
        while let Some(text) = answer.next().await? {
            self.tell(text).await;
        }
        Ok(())
    }

    /// Begins the session anew as the client began it, unless another request has done so.
    async fn restore(&self, lost: Option<HeaderValue>) -> anyhow::Result<()> {
        let _restoring = self.session.restoring.lock().await;
        if self.session.id() != lost {
            return Ok(());
        }
        let Some(open) = self.session.open.lock().clone() else {
            return Ok(());
        };
        let message: Value = serde_json::from_str(&open.initialize)?;
        let (session, _, answer) = self.greet(&open.initialize, &message["id"]).await?;
        self.session
            .begin(open.initialize, session.as_deref(), &answer["result"]);
        if let Some(initialized) = open.initialized {
            self.post(&initialized, self.session.headers()).await?;
            if let Some(open) = &mut *self.session.open.lock() {
                open.initialized = Some(initialized);
            }
        }
        Ok(())
    }

    /// What the endpoint sends by itself, for as long as the session is open.
    pub(super) async fn listen(&self) {
        let mut last_event_id = None;
        loop {
            let before = self.session.id();
            let mut headers = self.session.headers();
            if let Some(Ok(event)) = last_event_id.as_deref().map(HeaderValue::from_str) {
                headers.insert("last-event-id", event);
            }
            let Ok(mut answer) = self.endpoint.get(headers).await else {
                sleep(super::TRY_AGAIN).await;
                continue;
            };
            if answer.status() == StatusCode::NOT_FOUND && before.is_some() {
                last_event_id = None;
                if self.restore(before).await.is_err() {
                    sleep(super::AWAY).await;
                }
                continue;
            }
            if !answer.status().is_success() || !answer.is_stream() {
                // It has nothing to send by itself.
                return;
            }
            // The end of the stream, or its failure, is no news to the client.
            while let Ok(Some(text)) = answer.next().await {
                self.tell(text).await;
            }
            last_event_id = answer.last_event_id.take().or(last_event_id);
            sleep(answer.retry).await;
        }
    }
}
