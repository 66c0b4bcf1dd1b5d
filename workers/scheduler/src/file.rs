//! The file of entries.

use std::{collections::BTreeMap, fs, path::Path, time::SystemTime};

use crate::{EntryDefaults, ScheduleEntry};
use anyhow::{Context as _, anyhow};
use jobs::Timer;

/// What the names of a file's entries begin with in the store.
pub(crate) const PREFIX: &str = "file/";

/// Reads all entries of a file.
pub(crate) fn read(path: &Path, keys: &EntryDefaults) -> anyhow::Result<Vec<Timer>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text, keys).with_context(|| path.display().to_string())
}

fn parse(text: &str, keys: &EntryDefaults) -> anyhow::Result<Vec<Timer>> {
    let entries: BTreeMap<String, ScheduleEntry> = toml::from_str(text)
        .map_err(|error| anyhow!("{}", telemetry::humanize(&error.to_string())))?;
    let timer = |(name, entry): (String, ScheduleEntry)| {
        let timer = entry.timer(&format!("{PREFIX}{name}"), keys);
        timer.with_context(|| format!("entry {name}"))
    };
    entries.into_iter().map(timer).collect()
}

/// Identifies one state of a file.
pub(crate) type FileStamp = (SystemTime, u64);

pub(crate) fn stamp(path: &Path) -> Option<FileStamp> {
    let about = fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

#[cfg(test)]
mod tests {
    use jobs::{MissedPolicy, Schedule};

    use super::*;

    fn entries(text: &str) -> anyhow::Result<Vec<Timer>> {
        let config = crate::SPEC.loader().load().unwrap();
        parse(text, &EntryDefaults::from_config(&config))
    }

    #[test]
    fn an_entry_reads_as_a_timer() {
        let text = r#"
            [nightly]
            cron = "0 3 * * *"
            timezone = "Europe/Berlin"
            kind = "call"
            missed = "skip"
            priority = 5
            timeout = "2m"
            payload = { service = "agent-echo", method = "a.B/C", payload = { input = "x" } }

            [goal]
            cron = "@daily"
            kind = "pipeline"
            payload = { goal = "How does a router drain?" }

            [often]
            every = "1.5s"
            kind = "task"
            queue = "slow"
            payload = { description = "d", subtasks = [{ subtask_id = "s", description = "d" }] }
        "#;
        let timers = entries(text).unwrap();
        // By their names.
        assert_eq!(timers[0].name, "file/goal");
        assert_eq!(
            (timers[0].kind.as_str(), timers[0].timezone.as_str()),
            ("pipeline", "UTC")
        );
        assert_eq!(timers[1].name, "file/nightly");
        assert_eq!(timers[1].when, Schedule::Cron("0 3 * * *".to_owned()));
        assert_eq!(timers[1].timezone, "Europe/Berlin");
        assert_eq!(
            (timers[1].missed, timers[1].priority),
            (MissedPolicy::Skip, 5)
        );
        assert_eq!(
            (timers[1].timeout_ms, timers[1].queue.as_str()),
            (120_000, "default")
        );
        assert_eq!(timers[2].when, Schedule::Every(1_500));
        assert_eq!(timers[2].queue, "slow");
    }

    #[test]
    fn a_bad_entry_is_told_with_its_place_and_field() {
        let table = [
            ("kind = \"call\"\npayload = {}", "cron"),
            ("every = \"1s\"\nkind = \"fly\"\npayload = {}", "kind"),
            ("every = \"1s\"\nkind = \"http\"\npayload = {}", "url"),
            (
                "every = \"soon\"\nkind = \"http\"\npayload = { url = \"http://h/\" }",
                "every",
            ),
            ("evry = \"1s\"", "evry"),
            (
                "cron = \"61 * * * *\"\nkind = \"http\"\npayload = { url = \"http://h/\" }",
                "cron",
            ),
            (
                "cron = \"* * * * *\"\ntimezone = \"Mars/Base\"\nkind = \"http\"\npayload = { url = \"http://h/\" }",
                "timezone",
            ),
            (
                "every = \"1s\"\ntimezone = \"UTC\"\nkind = \"http\"\npayload = { url = \"http://h/\" }",
                "timezone",
            ),
            (
                "every = \"10ms\"\nkind = \"http\"\npayload = { url = \"http://h/\" }",
                "every",
            ),
            (
                "every = \"1s\"\nkind = \"http\"\nqueue = \"No!\"\npayload = { url = \"http://h/\" }",
                "queue",
            ),
            (
                "every = \"1s\"\nkind = \"http\"\nmax_attempts = 0\npayload = { url = \"http://h/\" }",
                "max_attempts",
            ),
            (
                "every = \"1s\"\nkind = \"pipeline\"\npayload = { gaol = \"g\" }",
                "goal",
            ),
        ];
        for (fields, field) in table {
            let error = format!("{:#}", entries(&format!("[bad]\n{fields}")).unwrap_err());
            // An error outside of entries is reported with its line.
            let placed = error.contains("entry bad") || error.contains("line 2");
            assert!(placed && error.contains(field), "{error}");
        }
    }

    #[test]
    fn a_field_of_another_type_is_told_in_plain_words() {
        for (line, said) in [
            ("kind = 5", "has to be a string, not the number 5"),
            (
                "priority = \"x\"",
                "has to be a whole number from 0 to 255, not the string \"x\"",
            ),
            (
                "priority = 300",
                "has to be a whole number from 0 to 255, not the number 300",
            ),
            (
                "missed = \"never\"",
                "\"never\" is none of the choices, use one of",
            ),
            ("evry = \"1s\"", "\"evry\" is not known, use one of cron"),
        ] {
            let error = format!("{:#}", entries(&format!("[bad]\n{line}")).unwrap_err());
            assert!(error.contains(said), "{error}");
            for word in ["invalid", "u8", "variant", "expected"] {
                assert!(!error.contains(word), "{error}");
            }
        }
    }

    #[test]
    fn an_entry_without_a_zone_has_that_of_the_key() {
        let loader = crate::SPEC
            .loader()
            .set("schedule_timezone", "Europe/Berlin");
        let keys = EntryDefaults::from_config(&loader.load().unwrap());
        let text = "[nightly]\ncron = \"0 3 * * *\"\nkind = \"call\"\n\
                    payload = { service = \"agent-echo\", method = \"a.B/C\", payload = {} }";
        assert_eq!(parse(text, &keys).unwrap()[0].timezone, "Europe/Berlin");
    }
}
