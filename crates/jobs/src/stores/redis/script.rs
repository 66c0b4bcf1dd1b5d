//! The scripts: every change of a lane is one of them, so that it happens as a whole.

use std::sync::LazyLock;

/// A script by its hash, and its text for a Redis that does not know it yet.
pub(super) struct Script {
    pub(super) text: &'static str,
    pub(super) hash: String,
    /// What to call it when it fails, if it writes.
    pub(super) writes: Option<&'static str>,
}

impl Script {
    fn new(text: &'static str, name: &'static str) -> Self {
        let hash = redis::Script::new(text).get_hash().to_owned();
        let writes = WRITING.contains(&name).then_some(name);
        Self { text, hash, writes }
    }
}

/// Those that change a lane.
const WRITING: [&str; 9] = [
    "submit",
    "claim",
    "transition",
    "renew",
    "expired_leases",
    "sweep",
    "note",
    "cancel",
    "acknowledge",
];

type Loaded = LazyLock<Script>;

macro_rules! script {
    ($($part:literal),+) => {
        LazyLock::new(|| {
            let text = concat!($(include_str!(concat!("lua/", $part, ".lua")), "\n"),+);
            // The last part is what it does.
            let parts = [$($part),+];
            Script::new(text, parts[parts.len() - 1])
        })
    };
}

pub(super) static SETUP: Loaded = script!("setup");
pub(super) static TIME: Loaded = script!("time");
pub(super) static QUARANTINE: Loaded = script!("quarantine");
pub(super) static RIGHTS: Loaded = script!("rights");
pub(super) static TIMERS_MARK: Loaded = script!("timers_mark");
pub(super) static PROBE_WRITE: Loaded = script!("probe_write");
pub(super) static HEARTBEAT: Loaded = script!("heartbeat");
pub(super) static HEARTBEATS: Loaded = script!("heartbeats");
pub(super) static SWAP_TIMER: Loaded = script!("swap_timer");
pub(super) static SUBMIT: Loaded = script!("prelude", "submit");
pub(super) static CLAIM: Loaded = script!("prelude", "claim");
pub(super) static TRANSITION: Loaded = script!("prelude", "transition");
pub(super) static RENEW: Loaded = script!("prelude", "renew");
pub(super) static NOTE: Loaded = script!("prelude", "note");
pub(super) static CANCEL: Loaded = script!("prelude", "cancel");
pub(super) static CANCEL_REQUESTS: Loaded = script!("prelude", "cancel_requests");
pub(super) static FIND: Loaded = script!("prelude", "read_job", "find");
pub(super) static FIND_MANY: Loaded = script!("prelude", "read_job", "find_many");
pub(super) static FIND_WITH_NOTES: Loaded = script!("prelude", "read_job", "find_with_notes");
pub(super) static EXPIRED_LEASES: Loaded = script!("prelude", "read_job", "expired_leases");
pub(super) static LIST: Loaded = script!("prelude", "read_job", "list");
pub(super) static COUNTS: Loaded = script!("prelude", "counts");
pub(super) static SWEEP: Loaded = script!("prelude", "sweep");
pub(super) static ACKNOWLEDGE: Loaded = script!("acknowledge");
pub(super) static COMPLETION_TAILS: Loaded = script!("completion_tails");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The commands that a script calls.
    fn commands(text: &str) -> BTreeSet<String> {
        let calls = ["call('", "assert_types('"];
        let parts = calls.iter().flat_map(|call| text.split(call).skip(1));
        let words = parts.filter_map(|part| part.split('\'').next());
        words.map(ToOwned::to_owned).collect()
    }

    #[test]
    fn every_command_of_the_scripts_is_tried_and_in_the_guides_list_of_rights() {
        let guide = include_str!("../../../../../docs/guide/jobs.md");
        let line = guide.lines().find(|line| line.starts_with("ACL SETUSER"));
        let line = line.expect("the guide lists the rights");
        let mut seen = 0;
        let all = [
            &SETUP,
            &QUARANTINE,
            &TIMERS_MARK,
            &PROBE_WRITE,
            &SWAP_TIMER,
            &SUBMIT,
            &CLAIM,
            &TRANSITION,
            &RENEW,
            &NOTE,
            &CANCEL,
            &CANCEL_REQUESTS,
            &FIND,
            &FIND_MANY,
            &FIND_WITH_NOTES,
            &EXPIRED_LEASES,
            &LIST,
            &COUNTS,
            &SWEEP,
            &ACKNOWLEDGE,
            &COMPLETION_TAILS,
            &HEARTBEAT,
            &HEARTBEATS,
        ];
        for script in all {
            for command in commands(script.text) {
                seen += 1;
                let right = format!(" +{}", command.to_lowercase());
                assert!(line.contains(&right), "{command} is not in the guide");
                // A key of ours is renamed only when another thing stands in its place.
                let tried = RIGHTS.text.contains(&format!("'{command}'"));
                assert!(tried || command == "RENAME", "{command} is not tried");
            }
        }
        assert!(seen > 40, "{seen}");
    }
}
