//! The state that handlers and checks share.

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::state::State;

/// The state, and a channel with its index.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The name of the only node.
    pub(crate) node: String,
    /// Another one at each start, as with Consul: programs see that they have to register again.
    pub(crate) node_id: String,
    state: Mutex<State>,
    index: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(node: &str) -> Self {
        let [a, b] = [rand::random::<u64>(), rand::random::<u64>()];
        let node_id = format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xffff,
            b >> 48,
            b & 0xffff_ffff_ffff
        );
        Self {
            node: node.to_owned(),
            node_id,
            state: Mutex::new(State::new()),
            index: watch::Sender::new(1),
        }
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock())
    }

    /// Changes the state, and wakes blocking queries if it has a new index.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let changed = change(&mut state);
        let index = state.index();
        self.index
            .send_if_modified(|known| std::mem::replace(known, index) != index);
        changed
    }

    /// Tells of every new index.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.index.subscribe()
    }
}
