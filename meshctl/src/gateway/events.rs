//! Server-sent events as they come.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

/// A gateway that is silent for so long is gone: it sends a sign of life every 15 s by default.
const SILENCE: Duration = Duration::from_secs(90);

/// Events of a gateway.
#[derive(Debug)]
pub(crate) struct Events {
    answer: Response,
    lines: Lines,
}

impl Events {
    pub(super) fn new(answer: Response) -> Self {
        let lines = Lines::default();
        Self { answer, lines }
    }

    /// The next event; `None` when the gateway ends the stream. Can be dropped at any time.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            if let Some(data) = self.lines.event() {
                let event = serde_json::from_str(&data).context("read an event")?;
                return Ok(Some(event));
            }
            let bytes = timeout(SILENCE, self.answer.chunk()).await;
            let bytes = bytes.context("the gateway has sent nothing for 90 s")?;
            match bytes
                .map_err(reqwest::Error::without_url)
                .context("read events")?
            {
                None => return Ok(None),
                Some(bytes) => self.lines.add(&bytes),
            }
        }
    }
}

/// Lines, however the bytes were cut. Only `data` is read: it repeats the rest.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    data: String,
}

impl Lines {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The data of the next event that is here as a whole.
    fn event(&mut self) -> Option<String> {
        let mut read = 0;
        let mut event = None;
        while let Some(end) = self.bytes[read..].iter().position(|byte| *byte == b'\n') {
            let line = self.bytes[read..read + end].trim_ascii_end();
            read += end + 1;
            if let Some(data) = line.strip_prefix(b"data:") {
                self.data += String::from_utf8_lossy(data).trim_start();
            } else if line.is_empty() && !self.data.is_empty() {
                event = Some(std::mem::take(&mut self.data));
                break;
            }
        }
        self.bytes.drain(..read);
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_wherever_the_bytes_are_cut() {
        let text = b": still here\n\nid: 1.1\nevent: queued\ndata: {\"a\":1}\n\ndata:{}\r\n\r\n";
        for cut in 0..text.len() {
            let mut lines = Lines::default();
            let mut events = Vec::new();
            for part in [&text[..cut], &text[cut..]] {
                lines.add(part);
                events.extend(std::iter::from_fn(|| lines.event()));
            }
            assert_eq!(events, ["{\"a\":1}", "{}"], "cut at {cut}");
        }
    }
}
