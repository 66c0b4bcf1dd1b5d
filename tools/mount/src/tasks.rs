//! Tasks across the eras: a capability with a result of its own before 2026-07-28, an extension with
//! polling since.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    asks::Capabilities,
    link::{Ask, Event, Exchange, Next, Outgoing},
    message::{Fields, Outcome, Raw, code, error, raw, text, to_raw},
    modern::Call,
    mount::Mount,
    replies::gone_error,
};

/// How long a task that needs input may take to say what it asks.
const QUESTION: Duration = Duration::from_secs(2);
/// How often a server is polled that does not say how often.
const POLL: Duration = Duration::from_millis(500);
/// Tasks with open questions that are kept at once.
const MAX_HELD: usize = 1000;
/// How a result says which task it is of, before 2026-07-28.
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// The tasks of a server of an earlier revision that ask something, by their ids.
#[derive(Debug, Default)]
pub(crate) struct HeldTasks(Mutex<BTreeMap<String, Arc<Slot>>>);

/// The place of one of them. Who asks for it waits for who does already.
#[derive(Debug)]
struct Slot {
    held: tokio::sync::Mutex<Option<Held>>,
    /// When it was asked for last.
    seen: Mutex<Instant>,
}

/// One of them: its result is being waited for, since its questions come with that.
#[derive(Debug)]
struct Held {
    exchange: Exchange,
    asks: BTreeMap<String, (Value, oneshot::Sender<Outcome>)>,
    asked: u64,
}

/// Whether a tool of a server of an earlier revision has to be called as a task.
pub(crate) fn needed_by(mount: &Mount, params: &Fields) -> bool {
    let name = text(params.get("name")).unwrap_or_default();
    let known = mount.tools.known();
    let tool = known.as_ref().and_then(|known| known.get(&name));
    tool.is_some_and(|it| it.value["execution"]["taskSupport"] == "required")
}

/// The members of a task: in earlier revisions, and in 2026-07-28.
const MEMBERS: [(&str, &str); 6] = [
    ("status", "status"),
    ("statusMessage", "statusMessage"),
    ("createdAt", "createdAt"),
    ("lastUpdatedAt", "lastUpdatedAt"),
    ("ttl", "ttlMs"),
    ("pollInterval", "pollIntervalMs"),
];

/// A task of an earlier revision as 2026-07-28 has it.
fn modern_task(task: &Value, id: &str) -> Map<String, Value> {
    let mut out = Map::new();
    for (old, new) in MEMBERS {
        if let Some(value) = task.get(old) {
            out.insert(new.to_owned(), value.clone());
        }
    }
    out.entry("ttlMs").or_insert(Value::Null);
    out.insert("taskId".to_owned(), id.into());
    out
}

/// A task of 2026-07-28 as earlier revisions have it.
fn legacy_task(task: &Value) -> Value {
    let mut out = json!({"taskId": task["taskId"], "status": task["status"], "ttl": task["ttlMs"]});
    for (old, new) in MEMBERS {
        if let Some(value) = task.get(new) {
            out[old] = value.clone();
        }
    }
    out
}

fn value(result: &Raw) -> Value {
    serde_json::from_str(result.get()).unwrap_or_default()
}

/// The parameters of a request about a task.
fn about(id: &str) -> Fields {
    Fields::from([("taskId".to_owned(), raw(&Value::from(id)))])
}

impl Mount {
    async fn ask_task(&self, method: &str, id: &str) -> Outcome {
        let request = Outgoing::own(method, about(id));
        self.outcome_over(&self.upstream, request).await
    }
}

/// Begins a task at a server of an earlier revision: its id, and how it is seen by a client of
/// 2026-07-28.
pub(crate) async fn begin(
    mount: &Mount,
    mut request: Outgoing,
    caller: &str,
) -> Result<(String, Map<String, Value>), Raw> {
    request.params.insert("task".to_owned(), raw(&json!({})));
    let begun = mount.outcome_over(&mount.upstream, request).await?;
    let task = value(&begun).get("task").cloned().unwrap_or_default();
    let Some(id) = task["taskId"].as_str() else {
        return Err(error(code::INTERNAL, "the server began no task"));
    };
    let mut out = modern_task(&task, &mount.parked.wrap_task(id, caller));
    out.insert("resultType".to_owned(), "task".into());
    Ok((id.to_owned(), out))
}

/// The request for the result of a task, on behalf of a client.
pub(crate) fn result_of(id: &str, capabilities: &Capabilities, client: u64) -> Outgoing {
    Outgoing {
        capabilities: capabilities.clone(),
        client,
        ..Outgoing::own("tasks/result", about(id))
    }
}

/// Answers a client of 2026-07-28 about a task of a server of an earlier revision.
pub(crate) async fn answer_modern(mount: &Arc<Mount>, call: &Call, id: &str) -> Outcome {
    let done = || Ok(raw(&json!({"resultType": "complete"})));
    match &*call.method {
        "tasks/cancel" => match mount.ask_task("tasks/cancel", id).await {
            Ok(_) => {
                mount.held.0.lock().remove(id);
                done()
            }
            // One that has ended is cancelled as well as it can be.
            Err(refused) => match mount.ask_task("tasks/get", id).await {
                Ok(_) => done(),
                Err(_) => Err(refused),
            },
        },
        "tasks/update" => {
            let given = call.params.get("inputResponses").map(|it| &**it);
            let given = crate::message::fields(given).unwrap_or_default();
            let known = mount.held.answer(id, given).await;
            if !known && let Err(gone) = mount.ask_task("tasks/get", id).await {
                return Err(gone);
            }
            done()
        }
        _ => get(mount, call, id).await,
    }
}

async fn get(mount: &Arc<Mount>, call: &Call, id: &str) -> Outcome {
    let task = value(&mount.ask_task("tasks/get", id).await?);
    let mut out = modern_task(&task, &mount.parked.wrap_task(id, &call.caller));
    out.insert("resultType".to_owned(), "complete".into());
    match task["status"].as_str().unwrap_or_default() {
        "input_required" => {
            let questions = mount.held.questions(mount, call, id).await?;
            match questions.is_empty() {
                // It has what it needs, and has not said so yet.
                true => out.insert("status".to_owned(), "working".into()),
                false => out.insert("inputRequests".to_owned(), Value::Object(questions)),
            };
        }
        // Before, a failed tool had a result too: that is no error of the protocol.
        "completed" | "failed" => match mount.ask_task("tasks/result", id).await {
            Ok(result) => {
                out.insert("status".to_owned(), "completed".into());
                out.insert("result".to_owned(), value(&result));
            }
            Err(error) => {
                out.insert("status".to_owned(), "failed".into());
                out.insert("error".to_owned(), value(&error));
            }
        },
        _ => {}
    }
    Ok(raw(&Value::Object(out)))
}

impl HeldTasks {
    /// What a task asks now.
    async fn questions(
        &self,
        mount: &Mount,
        call: &Call,
        id: &str,
    ) -> Result<Map<String, Value>, Raw> {
        let slot = self.slot(id)?;
        let mut held = slot.held.lock().await;
        let held = match &mut *held {
            Some(held) => held,
            none => {
                let request = result_of(id, &call.capabilities, call.client);
                let exchange = mount.request(request).await;
                none.insert(Held {
                    exchange: exchange.map_err(|gone| gone_error(&gone))?,
                    asks: BTreeMap::new(),
                    asked: 0,
                })
            }
        };
        let late = Instant::now() + QUESTION;
        loop {
            // Of what waits already, everything; else the first question, if it comes in time.
            let until = match held.asks.is_empty() {
                true => late,
                false => Instant::now(),
            };
            let Ok(Next::Event(event)) = timeout_at(until, held.exchange.next()).await else {
                break;
            };
            if Instant::now() >= late {
                // The server may have no end of progress to tell.
                break;
            }
            if let Event::Ask(Ask {
                method,
                params,
                answer,
            }) = event
            {
                held.asked += 1;
                let mut request = json!({"method": method});
                if let Some(params) = &params {
                    request["params"] = value(params);
                }
                held.asks
                    .insert(format!("ask-{}", held.asked), (request, answer));
            }
        }
        let questions = held.asks.iter();
        Ok(questions
            .map(|(key, (request, _))| (key.clone(), request.clone()))
            .collect())
    }

    /// The place of a task.
    fn slot(&self, id: &str) -> Result<Arc<Slot>, Raw> {
        let mut all = self.0.lock();
        if let Some(slot) = all.get(id) {
            *slot.seen.lock() = Instant::now();
            return Ok(Arc::clone(slot));
        }
        if all.len() >= MAX_HELD {
            let text = format!("{MAX_HELD} tasks ask something already");
            return Err(error(code::INTERNAL, text));
        }
        let slot = Arc::new(Slot {
            held: tokio::sync::Mutex::default(),
            seen: Mutex::new(Instant::now()),
        });
        all.insert(id.to_owned(), Arc::clone(&slot));
        Ok(slot)
    }

    /// Gives answers to a task. Whether it is known here.
    async fn answer(&self, id: &str, mut given: Fields) -> bool {
        let slot = self.0.lock().get(id).map(Arc::clone);
        let Some(slot) = slot else { return false };
        let mut held = slot.held.lock().await;
        let Some(held) = &mut *held else { return false };
        let keys: Vec<String> = held.asks.keys().cloned().collect();
        for key in keys {
            if let Some(given) = given.remove(&key)
                && let Some((_, answer)) = held.asks.remove(&key)
            {
                // The server may not wait for it any more.
                answer.send(Ok(given)).ok();
            }
        }
        true
    }

    /// Forgets the tasks that nobody has asked for in this time.
    pub(crate) fn sweep(&self, time: Duration) {
        let is_fresh = |slot: &Slot| slot.seen.lock().elapsed() < time;
        self.0.lock().retain(|_, slot| is_fresh(slot));
    }
}

/// What a server of 2026-07-28 made of a call that a client of an earlier revision wanted as a task.
pub(crate) fn begun(result: &Raw) -> Option<Raw> {
    let result = value(result);
    (result["resultType"] == "task").then(|| raw(&json!({"task": legacy_task(&result)})))
}

/// The parameters of a request about a task to a server of 2026-07-28.
pub(crate) fn modern_params(meta: &Fields, id: &str) -> Fields {
    let mut params = about(id);
    params.insert("_meta".to_owned(), to_raw(meta));
    params
}

/// A task of a server of 2026-07-28, as `tasks/get` of an earlier revision has it.
pub(crate) fn seen(result: &Raw) -> Raw {
    raw(&legacy_task(&value(result)))
}

/// How far a task of a server of 2026-07-28 has come.
pub(crate) enum Progress {
    /// It goes on: ask again after that.
    Working(Duration),
    /// It asks these.
    Asks(Map<String, Value>, Duration),
    /// It came to this.
    Ended(Outcome),
}

/// Reads the answer to `tasks/get`.
pub(crate) fn progress(result: &Raw) -> Progress {
    let task = value(result);
    let pause = task["pollIntervalMs"]
        .as_u64()
        .map_or(POLL, Duration::from_millis);
    let pause = pause.clamp(Duration::from_millis(20), Duration::from_secs(10));
    match task["status"].as_str().unwrap_or_default() {
        "completed" => {
            let Value::Object(mut result) = task["result"].clone() else {
                let text = "the task's result is no object";
                return Progress::Ended(Err(error(code::INTERNAL, text)));
            };
            result.remove("resultType");
            let mut meta = match result.remove("_meta") {
                Some(Value::Object(meta)) => meta,
                _ => Map::new(),
            };
            meta.insert(RELATED.to_owned(), json!({"taskId": task["taskId"]}));
            result.insert("_meta".to_owned(), Value::Object(meta));
            Progress::Ended(Ok(raw(&Value::Object(result))))
        }
        "failed" => Progress::Ended(Err(raw(&task["error"]))),
        "cancelled" => Progress::Ended(Err(error(code::INTERNAL, "the task was cancelled"))),
        "input_required" => {
            let asks = task["inputRequests"].as_object().cloned();
            Progress::Asks(asks.unwrap_or_default(), pause)
        }
        _ => Progress::Working(pause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_crosses_the_eras() {
        let old = json!({"taskId": "t", "status": "working", "statusMessage": "m", "createdAt": "c",
            "lastUpdatedAt": "l", "ttl": 60_000, "pollInterval": 5});
        let new = Value::Object(modern_task(&old, "t"));
        assert_eq!(
            (&new["ttlMs"], &new["pollIntervalMs"]),
            (&json!(60_000), &json!(5))
        );
        assert_eq!(legacy_task(&new), old);
        let unlimited = Value::Object(modern_task(
            &json!({"taskId": "t", "status": "working"}),
            "t",
        ));
        assert_eq!(unlimited["ttlMs"], Value::Null);
    }

    #[test]
    fn an_ended_task_has_its_result_or_its_error() {
        let ended = |task: Value| match progress(&raw(&task)) {
            Progress::Ended(outcome) => outcome.map(|it| value(&it)).map_err(|it| value(&it)),
            _ => panic!("{task}"),
        };
        let done = json!({"taskId": "t", "status": "completed", "result": {"content": [], "resultType": "complete"}});
        let expected = json!({"content": [], "_meta": {RELATED: {"taskId": "t"}}});
        assert_eq!(ended(done), Ok(expected));
        for result in [json!("x"), json!([1]), json!(null)] {
            let task = json!({"taskId": "t", "status": "completed", "result": result});
            assert!(ended(task).is_err());
        }
        let odd = json!({"taskId": "t", "status": "completed", "result": {"_meta": "x"}});
        assert_eq!(ended(odd), Ok(json!({"_meta": {RELATED: {"taskId": "t"}}})));
        let failed =
            json!({"taskId": "t", "status": "failed", "error": {"code": 1, "message": "m"}});
        assert_eq!(ended(failed), Err(json!({"code": 1, "message": "m"})));
    }
}
