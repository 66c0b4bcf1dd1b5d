//! Events as clients follow them: as server-sent events, or over a WebSocket when a client asks for
//! one. Both replay the events since a cursor and say so when some are no longer kept. Both end when
//! the gateway drains.

use std::{convert::Infallible, pin::Pin, time::Duration};

use axum::{
    extract::{
        FromRequestParts as _, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    response::{IntoResponse as _, Response, Sse, sse},
};
use chrono::Utc;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header, request::Parts};
use jobs::{Error, EventPage, JobEvent, JobId};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    event_streams, job_view,
    problem::{Problem, ProblemKind},
    request_context,
    state::App,
};

/// How many events are read at once.
const PAGE_SIZE: usize = 256;
/// How long a stream waits before it asks again, while the queue is unavailable.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Whose events.
#[derive(Debug, Clone)]
pub(crate) enum EventSource {
    Job(JobId),
    Queue(String),
}

impl EventSource {
    async fn read(&self, app: &App, cursor: &str, wait: Duration) -> Result<EventPage, Error> {
        match self {
            Self::Job(id) => app.jobs.job_events(id, cursor, PAGE_SIZE, wait).await,
            Self::Queue(queue) => app.jobs.events(queue, cursor, PAGE_SIZE, wait).await,
        }
    }
}

/// Answers with the events after a cursor. `Last-Event-ID` comes before the query's cursor: a browser
/// that reconnects cannot change the URL.
pub(crate) async fn follow(
    app: App,
    source: EventSource,
    cursor: Option<String>,
    mut parts: Parts,
) -> Result<Response, Problem> {
    let foreign = |_| Problem::field("Last-Event-ID", "is not one of these events");
    let last = parts.headers.get("last-event-id");
    let last = last.map(|id| id.to_str().map(str::to_owned)).transpose();
    let cursor = last.map_err(foreign)?.or(cursor).unwrap_or_default();
    let permit = app
        .event_streams
        .acquire(request_context::client(&parts, &app.proxies))?;
    let first = app
        .with_timeout(source.read(&app, &cursor, Duration::ZERO))
        .await;
    let first = first?;
    let follower = Follower {
        draining: app.context.draining.clone(),
        wait: app.keys.event_wait,
        app: app.clone(),
        source,
        page: Some(first),
        cursor,
        over: false,
        _permit: permit,
    };
    if wants_websocket(&parts.headers) {
        let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app).await;
        let upgrade = upgrade
            .map_err(|rejection| Problem::new(ProblemKind::Malformed, rejection.body_text()))?;
        return Ok(upgrade.on_upgrade(move |socket| serve_websocket(socket, follower)));
    }
    if follower
        .page
        .as_ref()
        .is_some_and(|page| page.ended && page.events.is_empty() && page.missed.is_none())
    {
        // The status that tells an EventSource not to reconnect.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let events = sse_pages(follower)
        .flat_map(|page| stream::iter(page.into_iter().map(Ok::<_, Infallible>)));
    let mut answer = Sse::new(events).into_response();
    let headers = answer.headers_mut();
    // A proxy that buffers answers would hold events back.
    headers.insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    Ok(answer)
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

/// Reads on from where a client is.
struct Follower {
    app: App,
    source: EventSource,
    page: Option<EventPage>,
    cursor: String,
    wait: Duration,
    over: bool,
    draining: CancellationToken,
    _permit: event_streams::StreamPermit,
}

/// One thing that a stream sends.
enum StreamItem {
    Event(JobEvent),
    /// Some events before this cursor are no longer kept.
    Missed {
        cursor: String,
        detail: &'static str,
    },
}

/// Why events are missing.
const OLD: &str = "some events after the cursor are no longer kept: read the current state instead";
const GONE: &str = "the job is no longer kept, so its outcome is unknown";

impl Follower {
    /// What to send next; an empty list is a sign of life, `None` the end.
    async fn next(&mut self) -> Option<Vec<StreamItem>> {
        if self.over || self.draining.is_cancelled() {
            return None;
        }
        let page = match self.page.take() {
            Some(page) if !page.events.is_empty() || page.missed.is_some() || page.ended => {
                Ok(page)
            }
            _ => {
                let read = self.source.read(&self.app, &self.cursor, self.wait);
                tokio::select! {
                    read = read => read,
                    () = self.draining.cancelled() => return None,
                }
            }
        };
        match page {
            Ok(page) => {
                self.over = page.ended;
                self.cursor = page.cursor;
                let missed = page.missed.map(|cursor| StreamItem::Missed {
                    cursor,
                    detail: OLD,
                });
                let events = page.events.into_iter().map(StreamItem::Event);
                Some(missed.into_iter().chain(events).collect())
            }
            // Nothing is missed once it is back: the cursor stays.
            Err(Error::Unavailable { .. }) => {
                sleep(RETRY_DELAY).await;
                Some(Vec::new())
            }
            // Swept, evicted or deleted since it was asked for.
            Err(Error::NotFound { .. }) => {
                self.over = true;
                let (cursor, detail) = (self.cursor.clone(), GONE);
                Some(vec![StreamItem::Missed { cursor, detail }])
            }
            Err(error) => {
                tracing::warn!(%error, "following events ends");
                None
            }
        }
    }

    fn body(&self, item: &StreamItem) -> Value {
        let now = u64::try_from(Utc::now().timestamp_millis()).unwrap_or(0);
        let id = match &self.source {
            EventSource::Job(id) => Some(id),
            EventSource::Queue(_) => None,
        };
        match item {
            StreamItem::Event(event) => json!({
                "job_id": event.id,
                "queue": event.id.queue(),
                "event": event.name,
                "progress": event.data,
                "at": job_view::time(event.at),
                "cursor": event.cursor,
            }),
            StreamItem::Missed { cursor, detail } => json!({
                "job_id": id,
                "queue": match &self.source {
                    EventSource::Job(id) => id.queue(),
                    EventSource::Queue(queue) => queue,
                },
                "event": MISSED,
                "detail": detail,
                "at": job_view::time(now),
                "cursor": cursor,
            }),
        }
    }
}

/// The name of the event that says that events are missing.
const MISSED: &str = "missed";

/// Lists of events, with a comment in place of an empty one.
fn sse_pages(follower: Follower) -> Pin<Box<dyn Stream<Item = Vec<sse::Event>> + Send>> {
    Box::pin(stream::unfold(follower, async |mut follower| {
        let items = follower.next().await?;
        let events = match items.is_empty() {
            true => vec![sse::Event::default().comment("still here")],
            false => items
                .iter()
                .map(|item| sse_event(&follower, item))
                .collect(),
        };
        Some((events, follower))
    }))
}

fn sse_event(follower: &Follower, item: &StreamItem) -> sse::Event {
    let (cursor, name) = match item {
        StreamItem::Event(event) => (event.cursor.as_str(), event.name.as_str()),
        StreamItem::Missed { cursor, .. } => (cursor.as_str(), MISSED),
    };
    let sent = sse::Event::default().id(cursor).event(name);
    sent.data(follower.body(item).to_string())
}

/// One text message for each event, and pings as signs of life. Of the client's messages only the
/// end is read.
async fn serve_websocket(mut socket: WebSocket, mut follower: Follower) {
    loop {
        let events = tokio::select! {
            events = follower.next() => events,
            said = socket.recv() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        let Some(events) = events else { break };
        if events.is_empty()
            && socket
                .send(Message::Ping(bytes::Bytes::new()))
                .await
                .is_err()
        {
            return;
        }
        for item in events {
            let text = follower.body(&item).to_string();
            if socket.send(Message::Text(text.into())).await.is_err() {
                return;
            }
        }
    }
    let (code, reason) = match follower.over {
        true => (close_code::NORMAL, "the job has ended, or is gone"),
        false => (close_code::AWAY, "connect again with the last cursor"),
    };
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    // A client that is gone needs no goodbye.
    socket.send(Message::Close(Some(frame))).await.ok();
}
