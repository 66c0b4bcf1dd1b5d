//! A request of a session sent on to the server, of whichever era, and followed to its end.

use std::sync::Arc;

use serde_json::Value;
use tokio::task::JoinSet;

use super::{Session, questions::input_required};
use crate::{
    asks, handshake,
    link::{Ask, Era, Event, Exchange, Facts, Gone, Next, Outgoing},
    message::{Fields, Outcome, Raw, code, error, fields, raw, to_raw},
    modern::{headers_of, next},
    replies::{gone_error, send},
    tasks, translate,
};

/// Rounds in which a server of 2026-07-28 may ask for more, for one request.
const MAX_ROUNDS: usize = 16;

impl Session {
    /// Sends a request on, and follows it to its end.
    pub(super) async fn forward(
        self: &Arc<Self>,
        id: &Raw,
        method: &str,
        params: Fields,
    ) -> Outcome {
        let token = params
            .get("_meta")
            .and_then(|meta| fields(Some(meta)))
            .and_then(|mut meta| meta.remove("progressToken"));
        let headers = headers_of(&self.mount, method, &params);
        let (mut answers, mut state) = (None, None);
        for _ in 0..MAX_ROUNDS {
            let link = self
                .side
                .upstream
                .link()
                .await
                .map_err(|gone| gone_error(&gone))?;
            let facts = Arc::clone(link.facts());
            let mut outgoing = Outgoing {
                method: method.to_owned(),
                params: params.clone(),
                progress: token.is_some(),
                capabilities: self.capabilities.clone(),
                client: self.client,
                headers: headers.clone(),
            };
            if facts.era == Era::Modern {
                self.modernize(&mut outgoing, &facts.version, answers.take(), state.take());
            }
            let exchange = self
                .mount
                .request_over(&self.side.upstream, outgoing)
                .await
                .map_err(|gone| gone_error(&gone))?;
            let ended = self.drive(id, token.as_ref(), exchange).await;
            self.mount.metrics.request(method, ended.as_ref().ok());
            let outcome = ended.map_err(|gone| gone_error(&gone))?;
            if facts.era == Era::Legacy {
                return self.finished(method, outcome);
            }
            let asked = outcome.as_ref().ok().and_then(input_required);
            let Some(asked) = asked else {
                return self.crossed(method, &params, &facts, outcome);
            };
            (answers, state) = (self.answers(id, &asked).await?, asked.state);
        }
        Err(error(code::INTERNAL, "the server asks again and again"))
    }

    /// What the server of 2026-07-28 expects of every request, and the answers to what it asked.
    fn modernize(
        &self,
        outgoing: &mut Outgoing,
        version: &str,
        answers: Option<Fields>,
        state: Option<Raw>,
    ) {
        let params = &mut outgoing.params;
        let meta = params.get("_meta").map(|it| &**it);
        let mut meta = fields(meta).unwrap_or_default();
        let is_task = params.remove("task").is_some();
        let capabilities = self.capabilities.modern(is_task);
        meta.extend(handshake::modern_meta(version, &self.info, &capabilities));
        let level = translate::level_name(self.level());
        meta.insert(
            "io.modelcontextprotocol/logLevel".to_owned(),
            raw(&Value::from(level)),
        );
        params.insert("_meta".to_owned(), to_raw(&meta));
        if let Some(answers) = answers {
            params.insert("inputResponses".to_owned(), to_raw(&answers));
        }
        if let Some(state) = state {
            params.insert("requestState".to_owned(), state);
        }
    }

    /// The response of a server of 2026-07-28 as the client gets it.
    fn crossed(&self, method: &str, params: &Fields, facts: &Facts, outcome: Outcome) -> Outcome {
        let wanted = method == "tools/call" && params.contains_key("task");
        if let (true, Ok(result)) = (wanted, &outcome) {
            let task = tasks::begun(result).ok_or_else(|| {
                let text = "the server answers this tool at once: call it without a task";
                error(code::UNKNOWN_METHOD, text)
            });
            return self.finished(method, task);
        }
        let outcome = self.finished(method, translate::to_legacy(method, outcome));
        match method {
            "tools/list" if asks::has_tasks(&facts.capabilities) => {
                outcome.map(|it| translate::with_task_support(&it))
            }
            _ => outcome,
        }
    }

    /// The response as the client gets it.
    fn finished(&self, method: &str, outcome: Outcome) -> Outcome {
        match method {
            "tools/list" => {
                outcome.map(|result| self.mount.tools.shown(result, self.mount.pinned()))
            }
            "tools/call" => outcome.inspect(|result| self.remember_task(result)),
            _ => outcome,
        }
    }

    async fn drive(
        self: &Arc<Self>,
        id: &Raw,
        token: Option<&Raw>,
        mut exchange: Exchange,
    ) -> Result<Outcome, Gone> {
        // The questions are answered beside the request, which may go on meanwhile.
        let mut questions = JoinSet::new();
        loop {
            let next = match questions.is_empty() {
                true => next(&self.mount, &mut exchange).await,
                // While a person is asked, the server has reason to be silent.
                false => tokio::select! {
                    next = exchange.next() => Ok(next),
                    Some(_) = questions.join_next() => continue,
                },
            };
            match next? {
                Next::Event(Event::Notification(it)) => {
                    if let Some(it) = translate::for_client(it, token, Some(self.level())) {
                        send(&self.out, it.write(), id.get().as_bytes().to_vec()).await;
                    }
                }
                Next::Event(Event::Ask(ask)) => {
                    let (session, id) = (Arc::clone(self), id.clone());
                    questions.spawn(async move {
                        let Ask {
                            method,
                            params,
                            answer,
                        } = ask;
                        let outcome = session.ask(&method, params, &id).await;
                        // The server may not wait for it any more.
                        answer.send(outcome).ok();
                    });
                }
                Next::Done(outcome) => return Ok(outcome),
                Next::Gone => return Err(Gone::Lost),
            }
        }
    }
}
