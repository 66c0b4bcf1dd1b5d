//! Clients' connections that have become old are told to go away, so that clients spread anew over
//! what is behind a name. Calls go on to their end, or for the time that the configuration gives.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use crate::{
    conn::Drain, engine::Engine, frame::ErrorCode, host::Host, parser::ConnectionError, slab::Id,
};

/// How long a client may take to answer the first word.
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
    /// Streams that are under way are still taken.
    GoAway,
    /// No further streams, should the client not have answered the first word.
    FinalGoAway,
    /// Its calls have had their time.
    Cut,
    /// It may be silent.
    Liveness,
}

impl ConnTimers {
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// From 0.9 to 1.1, each as far as can be from those before it: multiples of the golden ratio
    /// modulo 1, without a generator of random numbers.
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

    /// A client that is not wanted: it is told why, and its connection ends.
    pub fn reject(&mut self, id: Id, reason: &'static str) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.fail(ConnectionError::calm(reason));
        }
        self.mark_dirty(id);
    }
}
