//! A parser of response bodies: server-sent events after the HTML standard
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), or JSON. The first character
//! tells which, since endpoints send either under the other's content type.

use serde_json::Value;

/// One event of a body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BodyEvent {
    Json(Value),
    /// The stream says that it is complete.
    Done,
    /// An event that is not JSON: its name and its data.
    Other(String, String),
}

/// Parses a body that comes in pieces, wherever it is cut.
#[derive(Debug, Default)]
pub(crate) struct BodyParser {
    kind: BodyKind,
    line: Vec<u8>,
    /// Whether the last line ended with a carriage return, so that a line feed belongs to it.
    returned: bool,
    /// The lines of data of an incomplete event.
    data: Option<String>,
    name: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum BodyKind {
    #[default]
    Unknown,
    Events,
    Json,
}

impl BodyParser {
    /// Parses bytes, and returns the events that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<BodyEvent> {
        let mut events = Vec::new();
        for &byte in bytes {
            if self.kind == BodyKind::Unknown {
                self.kind = match byte {
                    // Spaces, and the byte order mark.
                    b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf => continue,
                    b'{' | b'[' => BodyKind::Json,
                    _ => BodyKind::Events,
                };
            }
            let follows = std::mem::take(&mut self.returned);
            match (self.kind, byte) {
                (BodyKind::Events, b'\n') if follows => {}
                (BodyKind::Events, b'\n' | b'\r') => {
                    self.returned = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    self.line(&String::from_utf8_lossy(&line), &mut events);
                }
                _ => self.line.push(byte),
            }
        }
        events
    }

    /// The events that the end of the body completes.
    pub(crate) fn finish(mut self) -> Vec<BodyEvent> {
        let mut events = Vec::new();
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if self.kind == BodyKind::Json {
            // One value, or several of them in a row.
            let mut end = 0;
            let mut values = serde_json::Deserializer::from_str(&line).into_iter();
            while let Some(Ok(value)) = values.next() {
                events.push(BodyEvent::Json(value));
                end = values.byte_offset();
            }
            let rest = line[end..].trim();
            if !rest.is_empty() {
                events.push(BodyEvent::Other(String::new(), rest.to_owned()));
            }
            return events;
        }
        self.line(&line, &mut events);
        self.over(&mut events);
        events
    }

    fn line(&mut self, line: &str, events: &mut Vec<BodyEvent>) {
        if line.is_empty() {
            return self.over(events);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.trim().clone_into(&mut self.name),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                // Not every endpoint sends the empty line between two events.
                None => match read(value.trim()) {
                    Some(event) if self.name.is_empty() => events.push(event),
                    _ if value.trim().is_empty() => {}
                    _ => self.data = Some(value.to_owned()),
                },
            },
            // Comments, ids, and what is no field at all.
            _ => {}
        }
    }

    fn over(&mut self, events: &mut Vec<BodyEvent>) {
        let name = std::mem::take(&mut self.name);
        let Some(data) = self.data.take() else {
            return;
        };
        events.push(match read(data.trim()) {
            Some(BodyEvent::Json(value)) if name == "error" && value.get("error").is_none() => {
                BodyEvent::Other(name, data)
            }
            Some(event) => event,
            None => BodyEvent::Other(name, data),
        });
    }
}

fn read(data: &str) -> Option<BodyEvent> {
    if data == "[DONE]" {
        return Some(BodyEvent::Done);
    }
    serde_json::from_str(data).ok().map(BodyEvent::Json)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn events(body: &[u8], size: usize) -> Vec<BodyEvent> {
        let mut reading = BodyParser::default();
        let mut events = Vec::new();
        for bytes in body.chunks(size) {
            events.extend(reading.push(bytes));
        }
        events.extend(reading.finish());
        events
    }

    #[test]
    fn events_are_the_same_wherever_the_body_is_cut() {
        let one = || BodyEvent::Json(json!({"a": "ü"}));
        let other = |name: &str, text: &str| BodyEvent::Other(name.to_owned(), text.to_owned());
        let table: [(&str, Vec<BodyEvent>); 11] = [
            (
                "data: {\"a\":\"ü\"}\n\ndata: [DONE]\n\n",
                vec![one(), BodyEvent::Done],
            ),
            (
                "data:{\"a\":\"ü\"}\r\n\r\ndata:[DONE]\r\n",
                vec![one(), BodyEvent::Done],
            ),
            (
                "\u{feff}: hi\r\rdata: {\"a\":\r\rid: 1\r",
                vec![other("", "{\"a\":")],
            ),
            ("data: {\"a\":\ndata: \"ü\"}\n\n", vec![one()]),
            (
                "data: {\"a\":\"ü\"}\ndata: {\"a\":\"ü\"}",
                vec![one(), one()],
            ),
            (
                "event: message\nid: 7\nretry: 3\ndata: {\"a\":\"ü\"}\n\n",
                vec![one()],
            ),
            (
                "event: error\ndata: overloaded\n\n",
                vec![other("error", "overloaded")],
            ),
            ("data:\n\ndata: \n\n:\n\n", vec![]),
            ("\n {\"a\":\"ü\"} \n", vec![one()]),
            ("{\"a\":\"ü\"}\n{\"a\":\"ü\"}\n", vec![one(), one()]),
            ("{\"a\":\"ü\"}\n{\"a\"", vec![one(), other("", "{\"a\"")]),
        ];
        for (body, expected) in table {
            for size in [1, 2, 3, 1000] {
                assert_eq!(
                    events(body.as_bytes(), size),
                    expected,
                    "{body:?} by {size}"
                );
            }
        }
    }
}
