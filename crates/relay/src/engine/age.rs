//! Clients' connections that have become old are told to go away, so that clients spread anew over
//! what is behind a name. Calls go on to their end, or for the time that the configuration gives.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use crate::{conn::Drain, engine::Engine, frame::Code, host::Host, parser::Fatal, slab::Id};

/// How long a client may take to answer the first word.
const STEP: Duration = Duration::from_secs(1);

/// What is due, and when.
#[derive(Debug, Default)]
pub(super) struct Ages {
    due: BinaryHeap<Reverse<(Instant, Id, Due)>>,
    /// Spreads the ages of connections that were opened together.
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Streams that are under way are still taken.
    First,
    /// No further streams, should the client not have answered the first word.
    Last,
    /// Its calls have had their time.
    Cut,
    /// It may be silent.
    Look,
}

impl Ages {
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
    pub(super) fn begin_age(&mut self, id: Id) {
        if let Some(age) = self.config.max_age {
            let age = age.mul_f64(self.ages.jitter());
            self.due(age, id, Due::First);
        }
        if let Some(look) = self.look_after() {
            self.due(look, id, Due::Look);
        }
    }

    fn due(&mut self, after: Duration, id: Id, due: Due) {
        let Some(at) = self.now.checked_add(after) else {
            return;
        };
        let ages = &mut self.ages.due;
        ages.push(Reverse((at, id, due)));
        if ages.len() > 4 * self.conns.len() + 64 {
            let conns = &self.conns;
            ages.retain(|Reverse((_, id, _))| conns.get(*id).is_some());
        }
    }

    /// Does what is due.
    pub(super) fn age(&mut self) {
        while self.ages.next().is_some_and(|at| at <= self.now) {
            let Some(Reverse((_, id, due))) = self.ages.due.pop() else {
                return;
            };
            let Some(conn) = self.conns.get_mut(id) else {
                continue;
            };
            match due {
                Due::First => {
                    if conn.draining == Drain::No {
                        conn.drain();
                    }
                    self.due(STEP, id, Due::Last);
                    if let Some(grace) = self.config.age_grace {
                        self.due(grace.max(STEP), id, Due::Cut);
                    }
                }
                Due::Last => {
                    if conn.draining == Drain::Announced {
                        conn.drain();
                    }
                }
                Due::Look => {
                    let again = self.look_after();
                    if let Some(look) = again.filter(|_| self.look(id)) {
                        self.due(look, id, Due::Look);
                    }
                }
                Due::Cut => {
                    conn.fail(Fatal {
                        code: Code::NoError,
                        reason: "max_connection_age_grace",
                    });
                    self.lose(id);
                }
            }
            self.mark(id);
        }
    }

    /// A client that is not wanted: it is told why, and its connection ends.
    pub fn turn_away(&mut self, id: Id, reason: &'static str) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.fail(Fatal {
                code: Code::EnhanceYourCalm,
                reason,
            });
        }
        self.mark(id);
    }
}
