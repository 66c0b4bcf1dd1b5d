//! Requests that wait for input of a client of 2026-07-28: the client comes again with the answers,
//! and with the state that tells which mount holds its request.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mcp::text::canonical;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::oneshot,
    time::{Duration, Instant},
};

use crate::{
    keys::MountKeys,
    link::Exchange,
    message::{Fields, Outcome},
    metrics::MountMetrics,
};

/// What every state of a mount begins with.
const MARK: &str = "mesh1.";

/// What is sealed for a task in place of the number of a request, which is random.
const TASK: u64 = u64::from_be_bytes(*b"mcp-task");
/// Bytes of the seal of a task's id, which clients keep and show.
const SEAL: usize = 16;

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) exchange: Exchange,
    /// The questions by their keys.
    pub(crate) asks: BTreeMap<String, oneshot::Sender<Outcome>>,
    /// How many questions it had before.
    pub(crate) asked: u64,
}

/// What a state of a client says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State<'a> {
    /// It is not of a mount: the server reads it.
    Foreign(&'a str),
    /// It is the server's own, which came through this instance.
    Server { instance: String, state: &'a str },
    /// It is the id of a task that this instance's server has, and whose that is.
    Task { instance: String, sealed: &'a str },
    /// It names a request that this instance holds.
    Parked { instance: String, sealed: &'a str },
}

/// Why a request does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotParked {
    #[error(
        "requestState is not valid for this request: it was changed, or belongs to another one"
    )]
    Forged,
    #[error("the request that requestState belongs to has ended: call again without it")]
    Ended,
}

/// The requests that wait at this mount.
#[derive(Debug)]
pub(crate) struct Parked {
    instance: String,
    key: [u8; 32],
    most: usize,
    time: Duration,
    metrics: MountMetrics,
    waiting: Mutex<BTreeMap<u64, (Waiting, Instant)>>,
}

impl Parked {
    pub(crate) fn new(instance: &str, keys: &MountKeys, metrics: &MountMetrics) -> Self {
        Self {
            instance: instance.to_owned(),
            key: rand::random(),
            most: keys.mount_max_parked,
            time: keys.mount_park_time,
            metrics: metrics.clone(),
            waiting: Mutex::default(),
        }
    }

    /// Reads a state.
    pub(crate) fn read(state: &str) -> State<'_> {
        let parts = state
            .strip_prefix(MARK)
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(instance, rest)| {
                let instance = BASE64_URL_SAFE_NO_PAD.decode(instance).ok()?;
                Some((String::from_utf8(instance).ok()?, rest.split_once('.')?))
            });
        match parts {
            Some((instance, ("s", state))) => State::Server { instance, state },
            Some((instance, ("p", sealed))) => State::Parked { instance, sealed },
            Some((instance, ("t", sealed))) => State::Task { instance, sealed },
            _ => State::Foreign(state),
        }
    }

    /// The server's own state, marked with this instance: the server may know it here alone.
    pub(crate) fn wrap(&self, state: &str) -> String {
        format!("{}s.{state}", self.mark())
    }

    /// The id of a task, marked with this instance, since no other one has it, and sealed for its
    /// caller: servers count their tasks, and the session with the server is everybody's.
    pub(crate) fn wrap_task(&self, id: &str, caller: &str) -> String {
        let seal = self.seal(TASK, caller, id.as_bytes());
        let seal = BASE64_URL_SAFE_NO_PAD.encode(&seal[..SEAL]);
        format!("{}t.{seal}.{id}", self.mark())
    }

    /// The server's id of a task that is the caller's.
    pub(crate) fn task<'a>(&self, sealed: &'a str, caller: &str) -> Option<&'a str> {
        let (seal, id) = sealed.split_once('.')?;
        let seal = BASE64_URL_SAFE_NO_PAD.decode(seal).ok()?;
        let mac = self.mac(TASK, caller, id.as_bytes());
        let is_whole = seal.len() == SEAL;
        (is_whole && mac.verify_truncated_left(&seal).is_ok()).then_some(id)
    }

    /// The beginning of a state of this instance. An ID may have dots.
    fn mark(&self) -> String {
        format!("{MARK}{}.", BASE64_URL_SAFE_NO_PAD.encode(&self.instance))
    }

    /// Whether an instance is this one.
    pub(crate) fn is_here(&self, instance: &str) -> bool {
        self.instance == instance
    }

    /// Lets a request wait, and gives its state. It is of the caller and of what the digest names.
    /// `None` when too many wait.
    pub(crate) fn park(&self, waiting: Waiting, caller: &str, digest: &[u8]) -> Option<String> {
        let id: u64 = rand::random();
        let now = Instant::now();
        let mut all = self.waiting.lock();
        all.retain(|_, (_, end)| *end > now);
        if all.len() >= self.most {
            return None;
        }
        all.insert(id, (waiting, now + self.time));
        self.metrics.parked(all.len());
        let mut sealed = id.to_be_bytes().to_vec();
        sealed.extend(self.seal(id, caller, digest));
        let sealed = BASE64_URL_SAFE_NO_PAD.encode(sealed);
        Some(format!("{}p.{sealed}", self.mark()))
    }

    /// Takes a request that waits.
    pub(crate) fn take(
        &self,
        sealed: &str,
        caller: &str,
        digest: &[u8],
    ) -> Result<Waiting, NotParked> {
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(sealed)
            .map_err(|_| NotParked::Forged)?;
        let (id, seal) = bytes.split_first_chunk().ok_or(NotParked::Forged)?;
        let id = u64::from_be_bytes(*id);
        self.mac(id, caller, digest)
            .verify_slice(seal)
            .map_err(|_| NotParked::Forged)?;
        let mut all = self.waiting.lock();
        let found = all.remove(&id);
        self.metrics.parked(all.len());
        match found {
            Some((waiting, end)) if end > Instant::now() => Ok(waiting),
            _ => Err(NotParked::Ended),
        }
    }

    /// Ends the requests that have waited long enough.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut all = self.waiting.lock();
        all.retain(|_, (_, end)| *end > now);
        self.metrics.parked(all.len());
    }

    fn seal(&self, id: u64, caller: &str, digest: &[u8]) -> Vec<u8> {
        self.mac(id, caller, digest)
            .finalize()
            .into_bytes()
            .to_vec()
    }

    fn mac(&self, id: u64, caller: &str, digest: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of every size");
        mac.update(&id.to_be_bytes());
        mac.update(&(caller.len() as u64).to_be_bytes());
        mac.update(caller.as_bytes());
        mac.update(digest);
        mac
    }
}

/// What makes a request the same as another: its method, and its parameters without what changes from
/// round to round.
pub(crate) fn digest(method: &str, params: &Fields) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(method.as_bytes());
    for (name, value) in params {
        if ["_meta", "inputResponses", "requestState"].contains(&&**name) {
            continue;
        }
        hash.update([0]);
        hash.update(name.as_bytes());
        hash.update([0]);
        // The same value may be written in several ways; one that is too deep to read is its text.
        match serde_json::from_str(value.get()) {
            Ok(value) => hash.update(canonical(&value)),
            Err(_) => hash.update(value.get()),
        }
    }
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use telemetry::MetricsRegistry;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{link::Events, message::raw};

    fn parked(most: usize) -> Parked {
        let metrics = MountMetrics::new(&MetricsRegistry::new());
        let keys = MountKeys {
            mount_max_parked: most,
            ..MountKeys::default()
        };
        Parked::new("mcp-mount-1", &keys, &metrics)
    }

    fn waiting() -> Waiting {
        Waiting {
            exchange: Exchange {
                events: Events::new(mpsc::channel(1).1, Arc::default()),
                done: oneshot::channel().1,
                ended: false,
                cancel: CancellationToken::new(),
            },
            asks: BTreeMap::new(),
            asked: 0,
        }
    }

    #[test]
    fn a_request_is_taken_once_by_its_caller_with_the_same_parameters() {
        let parked = parked(10);
        let state = parked.park(waiting(), "ann", b"d").unwrap();
        let State::Parked { instance, sealed } = Parked::read(&state) else {
            panic!("{state}");
        };
        assert_eq!(instance, "mcp-mount-1");
        let tampered = format!("{sealed}-TAMPERED");
        for (sealed, caller, digest) in [
            (tampered.as_str(), "ann", b"d"),
            (sealed, "bob", b"d"),
            (sealed, "ann", b"e"),
            ("", "ann", b"d"),
        ] {
            let taken = parked.take(sealed, caller, digest).map(drop);
            assert_eq!(taken, Err(NotParked::Forged), "{sealed} {caller}");
        }
        assert!(parked.take(sealed, "ann", b"d").is_ok());
        assert_eq!(
            parked.take(sealed, "ann", b"d").map(drop),
            Err(NotParked::Ended)
        );
        let other = self::parked(10);
        assert_eq!(
            other.take(sealed, "ann", b"d").map(drop),
            Err(NotParked::Forged)
        );
    }

    #[test]
    fn no_more_than_so_many_wait() {
        let parked = parked(1);
        assert!(parked.park(waiting(), "", b"").is_some());
        assert!(parked.park(waiting(), "", b"").is_none());
    }

    #[test]
    fn a_state_of_the_server_comes_back_to_the_letter() {
        let parked = parked(1);
        let wrapped = parked.wrap("a.b.é");
        let expected = State::Server {
            instance: "mcp-mount-1".to_owned(),
            state: "a.b.é",
        };
        assert_eq!(Parked::read(&wrapped), expected);
        assert_eq!(Parked::read("mesh1.x"), State::Foreign("mesh1.x"));
        assert_eq!(Parked::read(""), State::Foreign(""));
    }

    #[test]
    fn a_task_is_its_callers_and_nobody_elses() {
        let parked = parked(1);
        let state = parked.wrap_task("task.1", "ann");
        let State::Task { instance, sealed } = Parked::read(&state) else {
            panic!("{state}");
        };
        assert_eq!(instance, "mcp-mount-1");
        assert_eq!(parked.task(sealed, "ann"), Some("task.1"));
        let seal = sealed.split_once('.').unwrap().0;
        for (sealed, caller) in [
            (sealed, "bob"),
            (sealed, ""),
            ("task.1", "ann"),
            (".task.1", "ann"),
            (&format!("{seal}.task.2"), "ann"),
            (&format!("{}.task.1", &seal[..4]), "ann"),
        ] {
            assert_eq!(parked.task(sealed, caller), None, "{sealed} {caller}");
        }
        assert_eq!(self::parked(1).task(sealed, "ann"), None);
    }

    #[test]
    fn a_digest_is_of_what_a_request_asks_for() {
        let fields = |value: serde_json::Value| crate::message::fields(Some(&raw(&value))).unwrap();
        let first =
            fields(json!({"name": "a", "arguments": {"x": 1, "y": [2]}, "_meta": {"p": 1}}));
        let again =
            fields(json!({"arguments": {"y": [2], "x": 1}, "name": "a", "requestState": "s"}));
        let other = fields(json!({"name": "a", "arguments": {"x": 2, "y": [2]}}));
        assert_eq!(digest("tools/call", &first), digest("tools/call", &again));
        assert_ne!(digest("tools/call", &first), digest("tools/call", &other));
        assert_ne!(digest("tools/call", &first), digest("prompts/get", &first));
        // What cannot be read is told apart too.
        let deep = |end: &str| {
            let text = format!("{}{end}{}", "[".repeat(200), "]".repeat(200));
            let text = format!(r#"{{"name":"a","arguments":{{"x":{text}}}}}"#);
            let value = serde_json::value::RawValue::from_string(text).unwrap();
            crate::message::fields(Some(&value)).unwrap()
        };
        assert_ne!(
            digest("tools/call", &deep("1")),
            digest("tools/call", &deep("2"))
        );
    }
}
