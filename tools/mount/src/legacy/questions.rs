//! What the client of a session is asked, by a server of whichever era.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value};
use tokio::{sync::oneshot, time::timeout};

use super::Session;
use crate::{
    asks,
    message::{Fields, Outcome, Raw, Request, code, error, fields, raw, text},
    replies::send,
};

impl Session {
    /// Asks the client, and waits for its answer.
    pub(super) async fn ask(&self, method: &str, params: Option<Raw>, related: &Raw) -> Outcome {
        if !self.capabilities.answer(method, params.as_deref()) {
            let needed = asks::capability(method).unwrap_or_default();
            let text = format!("the client has no capability {needed:?}");
            return Err(error(code::UNKNOWN_METHOD, text));
        }
        let number = self.next_ask.fetch_add(1, Ordering::Relaxed);
        let id = raw(&Value::from(format!("ask-{number}")));
        let (sender, answered) = oneshot::channel();
        self.asks.lock().insert(id.get().to_owned(), sender);
        let request = Request {
            id: id.clone(),
            method: method.to_owned(),
            params,
        };
        let forget = Forget(self, id.get().to_owned());
        send(
            &self.out,
            request.write(),
            related.get().as_bytes().to_vec(),
        )
        .await;
        let outcome = timeout(self.mount.keys.mount_park_time, answered).await;
        drop(forget);
        match outcome {
            Ok(Ok(outcome)) => outcome,
            _ => Err(error(code::INTERNAL, "the client gave no answer")),
        }
    }

    /// The answers of the client to all that a server of 2026-07-28 asks.
    pub(super) async fn answers(
        &self,
        id: &Raw,
        asked: &InputRequired,
    ) -> Result<Option<Fields>, Raw> {
        if asked.requests.is_empty() {
            return Ok(None);
        }
        let answers = asked.requests.iter().map(|(key, request)| async move {
            let method = request["method"].as_str().unwrap_or_default();
            let params = request.get("params").map(raw);
            let answer = self.ask(method, params, id).await?;
            Ok((key.clone(), answer))
        });
        let answers = join_all(answers).await;
        let answers: Result<Fields, Raw> = answers.into_iter().collect();
        answers.map(Some)
    }
}

/// Forgets a question whose asker has left.
struct Forget<'a>(&'a Session, String);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.asks.lock().remove(&self.1);
    }
}

/// What a server of 2026-07-28 asks for before it goes on.
pub(super) struct InputRequired {
    pub(super) requests: Map<String, Value>,
    pub(super) state: Option<Raw>,
}

pub(super) fn input_required(result: &Raw) -> Option<InputRequired> {
    if !result.get().contains("input_required") {
        return None;
    }
    let mut result = fields(Some(result))?;
    if text(result.get("resultType"))? != "input_required" {
        return None;
    }
    let requests = result.remove("inputRequests");
    let requests = requests.and_then(|it| serde_json::from_str(it.get()).ok());
    Some(InputRequired {
        requests: requests.unwrap_or_default(),
        state: result.remove("requestState"),
    })
}

/// Waits for all futures at once, and keeps their order.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|it| (Box::pin(it), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (future, output) in pending.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(value) => *output = Some(value),
                std::task::Poll::Pending => ready = false,
            }
        }
        match ready {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    pending
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}
