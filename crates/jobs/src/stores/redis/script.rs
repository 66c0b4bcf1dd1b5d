//! The scripts: every change of a lane is one of them, so that it happens as a whole.

use std::sync::LazyLock;

/// A script by its hash, and its text for a Redis that does not know it yet.
pub(super) struct Script {
    pub(super) text: &'static str,
    pub(super) hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        let hash = redis::Script::new(text).get_hash().to_owned();
        Self { text, hash }
    }
}

type Loaded = LazyLock<Script>;

macro_rules! script {
    ($($part:literal),+) => {
        LazyLock::new(|| Script::new(concat!($(include_str!(concat!("lua/", $part, ".lua")), "\n"),+)))
    };
}

pub(super) static SETUP: Loaded = script!("setup");
pub(super) static TIME: Loaded = script!("time");
pub(super) static SWAP: Loaded = script!("swap");
pub(super) static SUBMIT: Loaded = script!("prelude", "submit");
pub(super) static CLAIM: Loaded = script!("prelude", "claim");
pub(super) static SHIFT: Loaded = script!("prelude", "shift");
pub(super) static RENEW: Loaded = script!("prelude", "renew");
pub(super) static NOTE: Loaded = script!("prelude", "note");
pub(super) static OFF: Loaded = script!("prelude", "off");
pub(super) static FIND: Loaded = script!("prelude", "look", "find");
pub(super) static EXPIRED: Loaded = script!("prelude", "look", "expired");
pub(super) static LIST: Loaded = script!("prelude", "look", "list");
pub(super) static COUNTS: Loaded = script!("prelude", "counts");
pub(super) static SWEEP: Loaded = script!("prelude", "sweep");
