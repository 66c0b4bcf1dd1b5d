//! The lines of several routers as one stream, at most as fast as that of one.

use std::{collections::VecDeque, time::Duration};

use serde_json::Value;
use service::call_log::PER_SECOND;
use tokio::time::Instant;

/// How a router says how many calls it has not shown. Within a string of JSON the quotes are escaped,
/// so it stands nowhere else.
const SKIPPED: &str = ",\"skipped\":";

/// What was shown lately.
#[derive(Debug, Default)]
pub(super) struct Merge {
    shown: VecDeque<Instant>,
    skipped: u64,
}

impl Merge {
    /// The line to print for one of a router; `None` for one too many in this second.
    pub(super) fn line(&mut self, line: &str, router: &str, now: Instant) -> Option<String> {
        let (call, skipped) = split(line)?;
        self.skipped += skipped;
        while self
            .shown
            .front()
            .is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1))
        {
            self.shown.pop_front();
        }
        if self.shown.len() >= PER_SECOND {
            self.skipped += 1;
            return None;
        }
        self.shown.push_back(now);
        let router = Value::from(router);
        let skipped = match std::mem::take(&mut self.skipped) {
            0 => String::new(),
            skipped => format!("{SKIPPED}{skipped}"),
        };
        Some(format!("{call},\"router\":{router}{skipped}}}"))
    }
}

/// A line without its end, and how many calls it says were skipped; `None` for what is no such line.
fn split(line: &str) -> Option<(&str, u64)> {
    let open = line
        .strip_suffix('}')
        .filter(|line| line.starts_with('{'))?;
    Some(match open.rsplit_once(SKIPPED) {
        Some((call, skipped)) => (call, skipped.parse().unwrap_or(0)),
        None => (open, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_routers_skipped_is_told_with_what_was_skipped_here() {
        let (mut merge, began) = (Merge::default(), Instant::now());
        let line = "{\"status\":\"OK\"}";
        for number in 0..150 {
            let shown = merge.line(line, "mcp-router-1", began + Duration::from_millis(number));
            assert_eq!(shown.is_some(), number < 100, "{number}");
        }
        let later = began + Duration::from_secs(2);
        let line = "{\"status\":\"OK\",\"skipped\":7}";
        let shown = merge.line(line, "mcp-router-2", later).unwrap();
        assert_eq!(
            shown,
            "{\"status\":\"OK\",\"router\":\"mcp-router-2\",\"skipped\":57}"
        );
        let shown = merge.line("{\"status\":\"OK\"}", "x", later).unwrap();
        assert_eq!(shown, "{\"status\":\"OK\",\"router\":\"x\"}");
        assert!(merge.line("no line", "x", later).is_none());
    }
}
