//! Events of runs as clients follow them: as server-sent events or over a WebSocket, from a cursor on.
//! Each message has the cursor after it, so that a client that comes back misses nothing and hears
//! nothing twice.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{
        FromRequestParts as _, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    response::{IntoResponse as _, Response, Sse, sse},
};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use runs::{EventCursor, EventFilter, EventPage, shard_of};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    body::bad_request, changes::ChangeListener, commands::unknown_run, event_text, views::RunView,
};
use crate::{
    event_streams::StreamPermit,
    problem::{Problem, ProblemKind},
    request_context,
    state::App,
};

/// How many events are read at once.
const PAGE: usize = 256;
/// Pause before the store is asked again, while it is away.
const AWAY: Duration = Duration::from_secs(1);
/// The store is looked at so often, in case a change is not told.
const LOOK: Duration = Duration::from_secs(5);
const OLD: &str = "some events after the cursor are no longer kept: read the current state instead";

/// How events are told.
#[derive(Debug, Clone)]
pub(crate) enum Telling {
    /// As messages with `type`.
    Messages,
    /// As lines of a log, then `done`.
    Log {
        /// Only of this node.
        node: Option<String>,
        /// Only errors.
        only_errors: bool,
    },
}

/// Where a client begins.
#[derive(Debug, Clone)]
pub(crate) enum From {
    /// After everything that has happened; `told` sends the cursor at once.
    Now {
        /// Whether a first message says the cursor.
        told: bool,
    },
    /// After this cursor.
    Cursor(EventCursor),
}

impl From {
    /// Of a query's cursor and the header `Last-Event-ID`, which comes first: a browser that comes
    /// back cannot change the URL.
    ///
    /// # Errors
    /// 400 for a text that is no cursor.
    pub(crate) fn read(
        headers: &HeaderMap,
        cursor: Option<&str>,
        absent: Self,
    ) -> Result<Self, Problem> {
        let wrong = |name| {
            bad_request(format!(
                "{name}: is no cursor: give the `cursor` of a message, `first` or `latest`"
            ))
        };
        let last = headers.get("last-event-id").map(|last| last.to_str());
        let last = last.transpose().map_err(|_| wrong("Last-Event-ID"))?;
        let (name, text) = match (last, cursor) {
            (Some(last), _) if !last.is_empty() => ("Last-Event-ID", last),
            (_, Some(cursor)) => ("cursor", cursor),
            _ => return Ok(absent),
        };
        match text {
            "first" => Ok(Self::Cursor(EventCursor::default())),
            "latest" => Ok(Self::Now { told: true }),
            text => EventCursor::of_text(text)
                .map(Self::Cursor)
                .ok_or_else(|| wrong(name)),
        }
    }
}

/// Answers with the events of one run, until it has ended.
pub(crate) async fn of_run(
    app: App,
    run_id: &str,
    from: From,
    telling: Telling,
    parts: Parts,
) -> Result<Response, Problem> {
    let store = app.workflows.store();
    let record = app
        .workflows
        .ask(store.run(run_id))
        .await
        .map_err(unknown_run)?;
    let filter = EventFilter {
        run_id: Some(run_id.to_owned()),
        owner: None,
    };
    let from = match from {
        // Of other shards nothing is read, and a cursor stays short.
        From::Cursor(mut cursor) => {
            cursor.0.retain(|shard, _| *shard == shard_of(run_id));
            From::Cursor(cursor)
        }
        now @ From::Now { .. } => now,
    };
    let ended = RunView::is_final(&record.summary.status);
    follow(app, filter, from, telling, Some(ended), parts).await
}

/// Answers with the events of a user's runs, without end.
pub(crate) async fn of_owner(
    app: App,
    owner: String,
    from: From,
    parts: Parts,
) -> Result<Response, Problem> {
    let filter = EventFilter {
        run_id: None,
        owner: Some(owner),
    };
    follow(app, filter, from, Telling::Messages, None, parts).await
}

async fn follow(
    app: App,
    filter: EventFilter,
    from: From,
    telling: Telling,
    ended: Option<bool>,
    mut parts: Parts,
) -> Result<Response, Problem> {
    let permit = app
        .event_streams
        .acquire(request_context::client(&parts, &app.proxies))?;
    let store = app.workflows.store();
    let mut listener = app.workflows.changes.follow();
    listener.mark();
    let (cursor, told) = match from {
        From::Cursor(cursor) => (cursor, false),
        From::Now { told } => {
            let mut cursor = app.workflows.ask(store.last_event()).await?;
            if let Some(run_id) = &filter.run_id {
                cursor.0.retain(|shard, _| *shard == shard_of(run_id));
            }
            (cursor, told)
        }
    };
    let first = app
        .workflows
        .ask(store.events(&filter, &cursor, PAGE))
        .await?;
    let is_over = ended == Some(true) && first.events.is_empty() && !first.missed;
    let upgrades = wants_websocket(&parts.headers);
    if is_over && !upgrades && matches!(telling, Telling::Messages) {
        // The status that tells an EventSource not to reconnect.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let follower = Follower {
        wait: app.keys.event_wait,
        app: app.clone(),
        filter,
        telling,
        cursor,
        page: Some(first),
        has_ended: ended == Some(true),
        ends: ended.is_some(),
        hello: told,
        over: false,
        listener,
        _permit: permit,
    };
    if upgrades {
        let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app).await;
        let upgrade = upgrade
            .map_err(|rejection| Problem::new(ProblemKind::Malformed, rejection.body_text()))?;
        return Ok(upgrade.on_upgrade(move |socket| serve_websocket(socket, follower)));
    }
    let events = Box::pin(stream::unfold(follower, async |mut follower| {
        let told = follower.next().await?;
        let events = match told.is_empty() {
            true => vec![sse::Event::default().comment("still here")],
            false => told.into_iter().map(Told::into_sse).collect(),
        };
        Some((events, follower))
    }));
    let events = events.flat_map(|page| stream::iter(page.into_iter().map(Ok::<_, Infallible>)));
    let mut answer = Sse::new(events).into_response();
    // A proxy that buffers answers would hold events back.
    let headers = answer.headers_mut();
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(answer)
}

/// Whether a request asks for a WebSocket.
pub(crate) fn wants_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

/// One thing that is sent.
struct Told {
    name: &'static str,
    cursor: String,
    body: Value,
}

impl Told {
    fn into_sse(self) -> sse::Event {
        let event = sse::Event::default().id(self.cursor).event(self.name);
        event.data(self.body.to_string())
    }
}

/// Reads on from where a client is.
struct Follower {
    app: App,
    filter: EventFilter,
    telling: Telling,
    cursor: EventCursor,
    page: Option<EventPage>,
    /// How long it is quiet before a sign of life.
    wait: Duration,
    /// Whether the last thing that happened is the run's end.
    has_ended: bool,
    /// Whether its end ends the stream.
    ends: bool,
    /// Whether a first message has to say the cursor.
    hello: bool,
    over: bool,
    listener: ChangeListener,
    _permit: StreamPermit,
}

impl Follower {
    /// What to send next; an empty list is a sign of life, `None` the end.
    async fn next(&mut self) -> Option<Vec<Told>> {
        let draining = self.app.context.draining.clone();
        if self.over || draining.is_cancelled() {
            return None;
        }
        if std::mem::take(&mut self.hello) {
            let body =
                event_text::notice("connected", "events after this cursor follow", &self.cursor);
            return Some(vec![self.told("connected", body)]);
        }
        let quiet = Instant::now() + self.wait;
        loop {
            let page = match self.page.take() {
                Some(page) => page,
                None => {
                    let page = tokio::select! {
                        page = self.read(quiet) => page,
                        () = draining.cancelled() => return None,
                    };
                    match page {
                        Some(page) => page,
                        None => return Some(Vec::new()),
                    }
                }
            };
            let is_last = page.events.len() < PAGE;
            let told = self.tell(page);
            if is_last && self.ends && self.has_ended {
                self.over = true;
                let done = matches!(self.telling, Telling::Log { .. });
                let done = done.then(|| {
                    let body = event_text::notice("done", "the run has ended", &self.cursor);
                    self.told("done", body)
                });
                return Some(told.into_iter().chain(done).collect());
            }
            if !told.is_empty() {
                return Some(told);
            }
        }
    }

    /// The next page that is not empty; `None` when it stays quiet, or the store is away.
    async fn read(&mut self, quiet: Instant) -> Option<EventPage> {
        let store = self.app.workflows.store().clone();
        loop {
            self.listener.mark();
            let remembered = self.listener.recent(&self.filter, &self.cursor, PAGE);
            let page = match remembered {
                Some(page) => Ok(page),
                None => store.events(&self.filter, &self.cursor, PAGE).await,
            };
            match page {
                Ok(page) if !page.events.is_empty() || page.missed => return Some(page),
                Ok(page) => self.cursor = page.next,
                Err(error) => {
                    // Nothing is missed once it is back: the cursor stays.
                    tracing::debug!(%error, "events of runs cannot be read now");
                    sleep(AWAY).await;
                    return None;
                }
            }
            if Instant::now() >= quiet {
                return None;
            }
            // The time being over is no failure: the store is looked at in any case.
            timeout_at(quiet, self.listener.events(LOOK)).await.ok();
        }
    }

    fn tell(&mut self, page: EventPage) -> Vec<Told> {
        let mut told = Vec::new();
        if page.missed {
            let body = event_text::notice("missed", OLD, &self.cursor);
            told.push(self.told("missed", body));
        }
        for stored in &page.events {
            self.cursor.0.insert(stored.shard, stored.seq);
            let Some(event) = event_text::read(stored) else {
                continue;
            };
            self.has_ended = match event_text::is_end(event.kind) {
                true => true,
                // What is told of a run that has ended does not make it run again.
                false => self.has_ended && event.kind != workflow::EventKind::WorkflowRetried,
            };
            let (name, body) = match &self.telling {
                Telling::Messages => {
                    let body = event_text::body(stored, &event, &self.cursor);
                    (event.kind.as_str(), Some(body))
                }
                Telling::Log { node, only_errors } => {
                    let node = node.as_deref();
                    let line =
                        event_text::log_line(stored, &event, &self.cursor, node, *only_errors);
                    ("log", line)
                }
            };
            told.extend(body.map(|body| self.told(name, body)));
        }
        self.cursor = page.next;
        if let Some(run_id) = &self.filter.run_id {
            let own = shard_of(run_id);
            self.cursor.0.retain(|shard, _| *shard == own);
        }
        told
    }

    fn told(&self, name: &'static str, body: Value) -> Told {
        Told {
            name,
            cursor: self.cursor.to_text(),
            body,
        }
    }
}

/// One text message for each event, and pings as signs of life. Of the client's messages only the end
/// is read.
async fn serve_websocket(mut socket: WebSocket, mut follower: Follower) {
    loop {
        let told = tokio::select! {
            told = follower.next() => told,
            said = socket.recv() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        let Some(told) = told else { break };
        let messages = match told.is_empty() {
            true => vec![Message::Ping(bytes::Bytes::new())],
            false => told
                .into_iter()
                .map(|told| Message::Text(told.body.to_string().into()))
                .collect(),
        };
        for message in messages {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    }
    let (code, reason) = match follower.over {
        true => (close_code::NORMAL, "the run has ended"),
        false => (close_code::AWAY, "connect again with the last cursor"),
    };
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    // The client may be gone already.
    socket.send(Message::Close(Some(frame))).await.ok();
}
