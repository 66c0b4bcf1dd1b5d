//! Every limit of the engine.

use std::time::Duration;

use crate::{parser::LONGEST_BLOCK, settings::Settings};

/// Every limit of the engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// What our SETTINGS tell clients.
    pub clients: Settings,
    /// What our SETTINGS tell instances.
    pub instances: Settings,
    /// The largest header list that is relayed, bytes. SETTINGS announce more: a peer that sees this
    /// limit would end the call itself, with an error of its own.
    pub max_header_list: usize,
    /// Receive window of a connection, bytes, at least 65,535.
    pub connection_window: u32,
    /// Output of one connection above which bodies wait until its peer reads.
    pub max_output: usize,
    /// Bytes of a request that are kept for another attempt.
    pub replay: usize,
    /// Connections to one endpoint; calls beyond their streams wait.
    pub max_connections: usize,
    /// After how long a client's connection is told to go away, ±10 %.
    pub max_age: Option<Duration>,
    /// How long the calls of such a connection may then go on.
    pub age_grace: Option<Duration>,
    /// How long a client may take until its first frame, and for a header block.
    pub handshake_timeout: Option<Duration>,
    /// How long a client may be silent in the middle of a frame.
    pub body_timeout: Option<Duration>,
    /// How long a client's connection may have no call before it is told to go away.
    pub keep_alive: Option<Duration>,
    /// Glitches of a client in ten seconds before its connection is closed: frames that bring no call
    /// further.
    pub max_glitches: u32,
    /// Wasted calls of a client in ten seconds before its connection is closed: calls that it gives up
    /// unanswered within a second. Each answered call makes up for two.
    pub wasted_calls: u32,
    /// Bytes that the calls of one client's connection may keep: what readers leave unread, what is kept
    /// for another attempt, and what a call itself needs. A call that would keep more is ended. A
    /// client that leaves more output unread loses its connection.
    pub client_memory: usize,
    /// The same for all clients together, with what waits to be written. Beyond it, calls of the client
    /// that keeps most are ended.
    pub memory: usize,
}

impl Default for Config {
    fn default() -> Self {
        let clients = Settings {
            header_table: 4096,
            max_streams: 10_000,
            window: 256 * 1024,
            max_frame: 16 * 1024,
            max_header_list: LONGEST_BLOCK as u32,
        };
        Self {
            max_header_list: 64 * 1024,
            clients,
            // Answers are larger than requests as a rule: larger frames are fewer.
            instances: Settings {
                max_frame: 64 * 1024,
                ..clients
            },
            connection_window: 16 << 20,
            max_output: 512 * 1024,
            replay: 64 * 1024,
            max_connections: 32,
            max_age: None,
            age_grace: None,
            handshake_timeout: None,
            body_timeout: None,
            keep_alive: None,
            max_glitches: 1000,
            wasted_calls: 500,
            client_memory: 32 << 20,
            memory: 256 << 20,
        }
    }
}
