//! Events of a `text/event-stream`, however its bytes were cut (WHATWG HTML, server-sent events).

use std::time::Duration;

/// An event as a whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its lines of data, joined.
    pub(crate) data: String,
    /// Its id, where it has one of its own.
    pub(crate) id: Option<String>,
    /// How long a client should wait before it connects again.
    pub(crate) retry: Option<Duration>,
}

/// Makes events of bytes.
#[derive(Debug, Default)]
pub(crate) struct EventParser {
    bytes: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl EventParser {
    /// More of the stream.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes are kept of what is no event yet.
    pub(crate) const fn kept(&self) -> usize {
        self.bytes.len() + self.event.data.len()
    }

    /// The next event that is here as a whole. One without data still tells its id.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let mut read = 0;
        let mut whole = None;
        while let Some(end) = self.bytes[read..].iter().position(|byte| *byte == b'\n') {
            let line = &self.bytes[read..read + end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            read += end + 1;
            if !line.is_empty() {
                field(&mut self.event, &mut self.has_data, line);
            } else if self.has_data || self.event.id.is_some() || self.event.retry.is_some() {
                self.has_data = false;
                whole = Some(std::mem::take(&mut self.event));
                break;
            }
        }
        self.bytes.drain(..read);
        whole
    }
}

fn field(event: &mut Event, has_data: &mut bool, line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    let (name, value) = line.split_once(':').unwrap_or((&line, ""));
    let value = value.strip_prefix(' ').unwrap_or(value);
    match name {
        "data" => {
            if *has_data {
                event.data.push('\n');
            }
            *has_data = true;
            event.data += value;
        }
        "id" => event.id = Some(value.to_owned()),
        "retry" => event.retry = value.parse().map(Duration::from_millis).ok(),
        // Comments have no name. What kind of event it is says nothing more.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_wherever_the_bytes_are_cut() {
        let text = b": still here\n\nid: 1.1\nevent: queued\nretry: 500\ndata: {\"a\":\ndata: 1}\n\nid: 2\r\ndata:\r\n\r\ndata:{}\n\n";
        for cut in 0..text.len() {
            let mut parser = EventParser::default();
            let mut events = Vec::new();
            for part in [&text[..cut], &text[cut..]] {
                parser.add(part);
                events.extend(std::iter::from_fn(|| parser.event()));
            }
            let first = Event {
                data: "{\"a\":\n1}".to_owned(),
                id: Some("1.1".to_owned()),
                retry: Some(Duration::from_millis(500)),
            };
            assert_eq!(events[0], first, "cut at {cut}");
            assert_eq!(
                (events[1].data.as_str(), events[1].id.as_deref()),
                ("", Some("2"))
            );
            assert_eq!((events.len(), events[2].data.as_str()), (3, "{}"));
            assert_eq!(parser.kept(), 0);
        }
    }
}
