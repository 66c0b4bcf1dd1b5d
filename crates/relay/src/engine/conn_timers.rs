//! The age of clients' connections. An old one gets GOAWAY, so that clients spread anew over the
//! replicas behind a name. Its calls go on to their end, or for `age_grace`.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use crate::{
    conn::Drain, engine::Engine, frame::ErrorCode, host::Host, parser::ConnectionError, slab::Id,
};

/// How long a client may take to answer the PING of the first GOAWAY.
const STEP: Duration = Duration::from_secs(1);

/// What is due, and when.
#[derive(Debug, Default)]
pub(super) struct ConnTimers {
    due: BinaryHeap<Reverse<(Instant, Id, Due)>>,
    /// Spreads the ages of connections that were opened together.
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The first GOAWAY: streams that are under way are still taken.
    GoAway,
    /// The last GOAWAY, if the client has not answered the PING.
    FinalGoAway,
    /// `age_grace` is over: the remaining calls are cut.
    Cut,
    /// The check for silence.
    Liveness,
}

impl ConnTimers {
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// A factor from 0.9 to 1.1. Multiples of the golden ratio modulo 1 keep each far from those
    /// before it, without a random number generator.
    fn jitter(&mut self) -> f64 {
        const GOLDEN: f64 = 0.618_033_988_749_895;
        self.count = self.count.wrapping_add(1);
        0.9 + 0.2 * (f64::from(self.count) * GOLDEN).fract()
    }
}

impl<H: Host> Engine<H> {
    /// A client has connected.
    pub(super) fn start_conn_timers(&mut self, id: Id) {
        if let Some(age) = self.config.max_age {
            let age = age.mul_f64(self.conn_timers.jitter());
            self.due(age, id, Due::GoAway);
        }
        if let Some(look) = self.check_interval() {
            self.due(look, id, Due::Liveness);
        }
    }

    fn due(&mut self, after: Duration, id: Id, due: Due) {
        let Some(at) = self.now.checked_add(after) else {
            return;
        };
        let timers = &mut self.conn_timers.due;
        timers.push(Reverse((at, id, due)));
        if timers.len() > 4 * self.conns.len() + 64 {
            let conns = &self.conns;
            timers.retain(|Reverse((_, id, _))| conns.get(*id).is_some());
        }
    }

    /// Does what is due.
    pub(super) fn fire_conn_timers(&mut self) {
        while self.conn_timers.next().is_some_and(|at| at <= self.now) {
            let Some(Reverse((_, id, due))) = self.conn_timers.due.pop() else {
                return;
            };
            let Some(conn) = self.conns.get_mut(id) else {
                continue;
            };
            match due {
                Due::GoAway => {
                    if conn.draining == Drain::No {
                        conn.drain();
                    }
                    self.due(STEP, id, Due::FinalGoAway);
                    if let Some(grace) = self.config.age_grace {
                        self.due(grace.max(STEP), id, Due::Cut);
                    }
                }
                Due::FinalGoAway => {
                    if conn.draining == Drain::Announced {
                        conn.drain();
                    }
                }
                Due::Liveness => {
                    let again = self.check_interval();
                    if let Some(look) = again.filter(|_| self.check_liveness(id)) {
                        self.due(look, id, Due::Liveness);
                    }
                }
                Due::Cut => {
                    let reason = "max_connection_age_grace";
                    conn.fail(ConnectionError::new(ErrorCode::NoError, reason));
                    self.connection_lost(id);
                }
            }
            self.mark_dirty(id);
        }
    }

    /// Ends the connection of a client that is not wanted, with GOAWAY and the reason.
    pub fn reject(&mut self, id: Id, reason: &'static str) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.fail(ConnectionError::calm(reason));
        }
        self.mark_dirty(id);
    }
}
