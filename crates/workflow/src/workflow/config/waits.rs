//! Nodes that wait: for people, for a time, for a signal.

use serde_json::{Map, Value};

use super::{Kind, Reading};
use crate::{
    expression, reference,
    workflow::{approval, read::MAX_MS},
};

pub(super) fn hitl(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    approval::read(r.reader, &r.at, config);
    Some(Kind::Hitl)
}

pub(super) fn timer(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    let at = &r.at;
    r.reader.whole(at, config, "duration_ms", 0..=MAX_MS);
    match (config.contains_key("duration_ms"), config.get("until")) {
        (false, None) => r
            .reader
            .wrong(at.as_str(), "`duration_ms` or `until` is missing"),
        (true, Some(_)) => r
            .reader
            .wrong(at.as_str(), "either `duration_ms` or `until`, not both"),
        (false, Some(Value::String(text))) => {
            if !reference::is_reference(text) && expression::parse_time(text).is_none() {
                let message =
                    "`until` has to be a time as of RFC 3339, such as 2030-01-31T12:00:00Z";
                r.reader.wrong(format!("{at}/until"), message);
            }
        }
        (false, Some(Value::Number(_))) => {
            r.reader.whole(at, config, "until", 0..=u64::MAX / 2);
        }
        (false, Some(_)) => r
            .reader
            .wrong(format!("{at}/until"), "`until` has to be a time"),
        (true, None) => {}
    }
    Some(Kind::Timer)
}

pub(super) fn signal(r: &mut Reading<'_>, config: &Map<String, Value>) -> Option<Kind> {
    r.reader.needs_text(&r.at, config, "name");
    r.reader.whole(&r.at, config, "timeout_ms", 1..=MAX_MS);
    Some(Kind::Signal)
}
