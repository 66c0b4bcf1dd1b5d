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
const WRITING: [&str; 7] = [
    "submit", "claim", "shift", "renew", "expired", "sweep", "note",
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
pub(super) static ASIDE: Loaded = script!("aside");
pub(super) static RIGHTS: Loaded = script!("rights");
pub(super) static PULSE: Loaded = script!("pulse");
pub(super) static BEAT: Loaded = script!("beat");
pub(super) static SWAP: Loaded = script!("swap");
pub(super) static SUBMIT: Loaded = script!("prelude", "submit");
pub(super) static CLAIM: Loaded = script!("prelude", "claim");
pub(super) static SHIFT: Loaded = script!("prelude", "shift");
pub(super) static RENEW: Loaded = script!("prelude", "renew");
pub(super) static NOTE: Loaded = script!("prelude", "note");
pub(super) static OFF: Loaded = script!("prelude", "off");
pub(super) static FIND: Loaded = script!("prelude", "look", "find");
pub(super) static TRAIL: Loaded = script!("prelude", "look", "trail");
pub(super) static EXPIRED: Loaded = script!("prelude", "look", "expired");
pub(super) static LIST: Loaded = script!("prelude", "look", "list");
pub(super) static COUNTS: Loaded = script!("prelude", "counts");
pub(super) static SWEEP: Loaded = script!("prelude", "sweep");
