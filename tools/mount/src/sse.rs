//! Server-sent events, as HTML's standard defines them, read from bytes as they come.

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// Its type; empty for `message`.
    pub(crate) kind: String,
    pub(crate) data: Vec<u8>,
}

/// Reads events.
#[derive(Debug)]
pub(crate) struct Sse {
    limit: usize,
    line: Vec<u8>,
    event: SseEvent,
    /// A carriage return ended the last line: a line feed after it belongs to it.
    after_return: bool,
    has_data: bool,
    /// The id of the last event that had one.
    pub(crate) last_id: Option<String>,
    /// How long the server wants a client to wait before it comes again, milliseconds.
    pub(crate) retry: Option<u64>,
}

/// An event is larger than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Sse {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            event: SseEvent::default(),
            after_return: false,
            has_data: false,
            last_id: None,
            retry: None,
        }
    }

    /// Takes bytes, and gives the events that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, TooLarge> {
        let mut events = Vec::new();
        for byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.end_line(&line));
                }
                byte => {
                    if self.line.len() + self.event.data.len() >= self.limit {
                        return Err(TooLarge);
                    }
                    self.line.push(*byte);
                }
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, line: &[u8]) -> Option<SseEvent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            Some(0) => return None,
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"data" => {
                if self.has_data {
                    self.event.data.push(b'\n');
                }
                self.has_data = true;
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.kind = text(),
            b"id" if !value.contains(&0) => self.last_id = Some(text()),
            b"retry" => self.retry = text().parse().ok().or(self.retry),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &str) -> SseEvent {
        SseEvent {
            kind: kind.to_owned(),
            data: data.as_bytes().to_vec(),
        }
    }

    #[test]
    fn events_are_read_however_the_bytes_come() {
        let text = ": hello\r\nevent: a\ndata: 1\ndata:2\n\nid: 7\rretry: 50\rdata\r\r\n\ndata: x";
        let expected = [event("a", "1\n2"), event("", "")];
        for size in [1, 2, 3, 1000] {
            let mut sse = Sse::new(1000);
            let read: Vec<_> = text
                .as_bytes()
                .chunks(size)
                .flat_map(|part| sse.feed(part).unwrap())
                .collect();
            assert_eq!(read, expected, "{size}");
            assert_eq!((sse.last_id.as_deref(), sse.retry), (Some("7"), Some(50)));
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut sse = Sse::new(10);
        assert!(sse.feed(b"data: 12345678").is_err());
        let mut sse = Sse::new(18);
        assert!(sse.feed(b"data: 1234567\n").is_ok());
        assert!(sse.feed(b"data: 1234567\n").is_err());
    }
}
