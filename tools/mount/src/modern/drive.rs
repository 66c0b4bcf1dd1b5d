//! A request in flight: what comes for it, its questions, and its end.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::Call;
use crate::{
    link::{Ask, Era, Event, Exchange, Facts, Gone, Next},
    message::{Fields, Notification, Outcome, Raw, code, error, fields, raw, text, to_raw},
    mount::Mount,
    parked::{Waiting, digest},
    replies::{Out, gone_error, send},
    translate,
};

/// Gives the answers of the client to a request that waited for them.
pub(super) fn resume(mut waiting: Waiting, call: &Call) -> (Exchange, u64) {
    let given = call.params.get("inputResponses").map(|it| &**it);
    let given: Fields = given.and_then(|it| fields(Some(it))).unwrap_or_default();
    for (key, answer) in std::mem::take(&mut waiting.asks) {
        let outcome = match given.get(&key) {
            Some(given) if given.get().starts_with('{') => Ok(given.clone()),
            Some(_) => Err(error(
                code::INVALID_PARAMS,
                "the client's answer is no object",
            )),
            None => Err(error(code::INTERNAL, "the client has not answered this")),
        };
        // The server may not wait for it any more.
        answer.send(outcome).ok();
    }
    (waiting.exchange, waiting.asked)
}

/// Follows a request in flight to its end, or until its client is asked something.
pub(super) async fn drive(
    mount: &Arc<Mount>,
    call: &Call,
    facts: &Arc<Facts>,
    mut exchange: Exchange,
    asked: u64,
    out: &Out,
) -> Option<Outcome> {
    loop {
        let next = tokio::select! {
            next = next(mount, &mut exchange) => next,
            // Its client has left: dropping the exchange cancels it.
            () = out.closed() => return None,
        };
        let ended = match next {
            Ok(Next::Event(Event::Notification(it))) => {
                notify(call, it, out).await;
                continue;
            }
            Ok(Next::Event(Event::Ask(ask))) => {
                return Some(park(mount, call, exchange, ask, asked, out).await);
            }
            Ok(Next::Done(outcome)) => Ok(outcome),
            Ok(Next::Gone) => Err(Gone::Lost),
            Err(late) => Err(late),
        };
        mount.metrics.request(&call.method, ended.as_ref().ok());
        return Some(match ended {
            Ok(outcome) => finished(mount, call, facts, outcome),
            Err(gone) => Err(gone_error(&gone)),
        });
    }
}

/// What comes next, if it comes in time.
pub(crate) async fn next(mount: &Mount, exchange: &mut Exchange) -> Result<Next, Gone> {
    mount.in_time(async { Ok(exchange.next().await) }).await
}

async fn notify(call: &Call, it: Notification, out: &Out) {
    if let Some(it) = translate::for_client(it, call.token.as_ref(), call.level) {
        send(out, it.write(), call.related()).await;
    }
}

/// Lets a request wait for the answers of its client.
async fn park(
    mount: &Arc<Mount>,
    call: &Call,
    mut exchange: Exchange,
    first: Ask,
    mut asked: u64,
    out: &Out,
) -> Outcome {
    let mut all = vec![first];
    while let Some(event) = exchange.events.take() {
        match event {
            Event::Ask(ask) => all.push(ask),
            Event::Notification(it) => notify(call, it, out).await,
        }
    }
    let (mut asks, mut requests) = (BTreeMap::new(), Fields::new());
    for ask in all {
        asked += 1;
        let key = format!("ask-{asked}");
        let mut request = Fields::from([("method".to_owned(), raw(&Value::from(ask.method)))]);
        request.extend(ask.params.map(|params| ("params".to_owned(), params)));
        requests.insert(key.clone(), to_raw(&request));
        asks.insert(key, ask.answer);
    }
    let waiting = Waiting {
        exchange,
        asks,
        asked,
    };
    let digest = digest(&call.method, &call.params);
    let Some(state) = mount.parked.park(waiting, &call.caller, &digest) else {
        let text = "too many requests wait for input (mount_max_parked)";
        return Err(error(code::INTERNAL, text));
    };
    let result = Fields::from([
        ("resultType".to_owned(), raw(&json!("input_required"))),
        ("inputRequests".to_owned(), to_raw(&requests)),
        ("requestState".to_owned(), raw(&Value::from(state))),
    ]);
    Ok(to_raw(&result))
}

/// The response that a client gets.
fn finished(mount: &Mount, call: &Call, facts: &Arc<Facts>, outcome: Outcome) -> Outcome {
    let outcome = match call.method == "tools/list" {
        true => outcome.map(|result| mount.tools.shown(result, mount.pinned())),
        false => outcome,
    };
    match facts.era {
        Era::Legacy => translate::to_modern(&call.method, facts, outcome),
        Era::Modern => outcome.map(|result| marked(mount, call, facts, result)),
    }
}

/// A result of a server of 2026-07-28 whose state and task are marked with this instance.
fn marked(mount: &Mount, call: &Call, facts: &Facts, result: Raw) -> Raw {
    let (state, task) = ("requestState", "taskId");
    if ![state, task].iter().any(|name| result.get().contains(name)) {
        return result;
    }
    let Some(mut all) = fields(Some(&result)) else {
        return result;
    };
    if let Some(given) = text(all.get(state)) {
        let wrapped = mount.parked.wrap(&given);
        all.insert(state.to_owned(), raw(&Value::from(wrapped)));
    }
    if facts.is_own
        && let Some(id) = text(all.get(task))
    {
        let wrapped = mount.parked.wrap_task(&id, &call.caller);
        all.insert(task.to_owned(), raw(&Value::from(wrapped)));
    }
    to_raw(&all)
}
