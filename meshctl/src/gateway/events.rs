//! Server-sent events as they come.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

use crate::event_stream::EventParser;

/// A gateway that is silent for so long is gone: it sends a sign of life every 15 s by default.
const SILENCE: Duration = Duration::from_secs(90);

/// Events of a gateway.
#[derive(Debug)]
pub(crate) struct Events {
    answer: Response,
    parser: EventParser,
}

impl Events {
    pub(super) fn new(answer: Response) -> Self {
        let parser = EventParser::default();
        Self { answer, parser }
    }

    /// The next event; `None` when the gateway ends the stream. Can be dropped at any time.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            if let Some(event) = self.parser.event() {
                if event.data.is_empty() {
                    continue;
                }
                let event = serde_json::from_str(&event.data).context("read an event")?;
                return Ok(Some(event));
            }
            let bytes = timeout(SILENCE, self.answer.chunk()).await;
            let bytes = bytes.context("the gateway has sent nothing for 90 s")?;
            match bytes
                .map_err(reqwest::Error::without_url)
                .context("read events")?
            {
                None => return Ok(None),
                Some(bytes) => self.parser.add(&bytes),
            }
        }
    }
}
