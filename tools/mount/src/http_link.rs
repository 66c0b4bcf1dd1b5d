//! A server that is reached by HTTP: streamable in both eras, and the HTTP+SSE of 2024-11-05.

mod connections;
mod requests;
mod server;
mod streams;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use fetch::KeptConnection;
use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use url::Url;

pub(crate) use self::server::HttpServer;
use self::streams::{follow, send_replies, watch};
use crate::{
    calls::{Calls, Setting},
    handshake,
    link::{Era, Exchange, Facts, Gone, Link, MODERN, Outgoing},
    message::{self, Notification},
    stdio::within,
};

/// Messages at once that the server does not answer.
const MAX_POSTS: usize = 64;
/// Answers to the server that wait to be sent.
const REPLIES: usize = 256;
/// Pause before a stream is opened again, where the server names none.
const RETRY: Duration = Duration::from_secs(1);
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// The code of an error that is the transport's own.
const HTTP_ERROR: i64 = -1;

/// A connection to a server by HTTP: many connections of TCP, and one session where there is one.
#[derive(Debug)]
struct HttpLink {
    facts: Arc<Facts>,
    peer: Arc<Peer>,
}

/// What is known before it is known what the server is.
#[derive(Debug)]
struct Peer {
    server: HttpServer,
    calls: Arc<Calls>,
    setting: Setting,
    idle: Mutex<Vec<KeptConnection>>,
    /// Limits the messages at once that the server does not answer.
    posts: Semaphore,
    /// The session and the revision, once they are known.
    session: Mutex<(Option<HeaderValue>, Option<HeaderValue>)>,
    /// Where messages go, where all answers come by one stream.
    endpoint: Mutex<Option<Url>>,
}

/// Connects to a server, and learns what it is.
pub(crate) async fn connect(
    server: &HttpServer,
    setting: &Setting,
    legacy: bool,
) -> anyhow::Result<Arc<dyn Link>> {
    let (replies, answers) = mpsc::channel(REPLIES);
    let peer = Arc::new(Peer {
        server: server.clone(),
        calls: Arc::new(Calls::new(setting, replies)),
        setting: setting.clone(),
        idle: Mutex::default(),
        posts: Semaphore::new(MAX_POSTS),
        session: Mutex::default(),
        endpoint: Mutex::default(),
    });
    let guard = peer.calls.closed().clone().drop_guard();
    setting
        .tracker
        .spawn(send_replies(Arc::clone(&peer), answers));
    let learnt = within(setting.patience, peer.handshake(!legacy)).await;
    let facts = learnt.with_context(|| format!("it said nothing for {:?}", setting.patience))??;
    guard.disarm();
    let facts = Arc::new(Facts {
        // A session is this process's, and so are its tasks.
        is_own: facts.era == Era::Legacy,
        ..facts
    });
    let link = HttpLink {
        facts: Arc::clone(&facts),
        peer: Arc::clone(&peer),
    };
    setting
        .tracker
        .spawn(watch(Arc::clone(&peer), Arc::clone(&facts)));
    if facts.era == Era::Legacy && peer.endpoint.lock().is_none() {
        setting.tracker.spawn(follow(peer));
    }
    Ok(Arc::new(link))
}

impl Peer {
    async fn handshake(self: &Arc<Self>, probe: bool) -> anyhow::Result<Facts> {
        let discovery = self.request(handshake::discover(), Some(MODERN));
        // A server that answers with no message is of an earlier revision.
        if probe
            && let Ok(outcome) = discovery.await?.outcome().await
            && let Some(facts) = handshake::discovered(&outcome)?
        {
            self.session.lock().1 = Some(HeaderValue::from_static(MODERN));
            return Ok(facts);
        }
        let outcome = self
            .request(handshake::initialize(), None)
            .await?
            .outcome()
            .await?;
        let outcome = match &outcome {
            Err(error) if message::error_code(error) == HTTP_ERROR => {
                self.open_sse()
                    .await
                    .with_context(|| message::error_text(error))?;
                self.request(handshake::initialize(), None)
                    .await?
                    .outcome()
                    .await?
            }
            _ => outcome,
        };
        let facts = handshake::begun(&outcome)?;
        self.session.lock().1 = HeaderValue::try_from(&facts.version).ok();
        self.post_message(handshake::initialized().write()).await?;
        if facts.can("logging") {
            let mut asked = self.request(handshake::set_level(), None).await?;
            asked.outcome().await?.ok();
        }
        Ok(facts)
    }
}

#[async_trait::async_trait]
impl Link for HttpLink {
    fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    async fn request(&self, request: Outgoing) -> Result<Exchange, Gone> {
        self.peer.request(request, None).await
    }

    async fn notify(&self, notification: Notification) -> Result<(), Gone> {
        if self.facts.era == Era::Modern {
            return Ok(());
        }
        self.peer.post_message(notification.write()).await
    }

    fn unsolicited(&self) -> broadcast::Receiver<Arc<Notification>> {
        self.peer.calls.unsolicited()
    }

    fn has_headers(&self) -> bool {
        true
    }

    fn closed(&self) -> &CancellationToken {
        self.peer.calls.closed()
    }
}
