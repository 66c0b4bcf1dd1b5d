//! Who takes a call: an instance is picked, and a place on one of its connections taken.

use std::{sync::Arc, time::Duration};

use discovery::Instance;
use tokio::time::{Instant, timeout};

use crate::{
    Error, Target,
    connection::Slot,
    endpoint::{Endpoint, Refusal},
    fleet::Fleet,
};

/// There is room for a call when this is dropped.
struct Room(Arc<Fleet>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.queue.make_room();
    }
}

/// A call in flight on an instance: counted until dropped, wherever the call ends.
pub(crate) struct Flight {
    pub(crate) slot: Slot,
    count: Count,
}

struct Count {
    fleet: Arc<Fleet>,
    endpoint: Arc<Endpoint>,
    /// It has a place on a connection.
    flies: bool,
}

impl Fleet {
    /// Someone to send a call to, with a place on a connection. `tried` are avoided while another
    /// can take it.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        target: &Target,
        tried: &[Arc<Endpoint>],
    ) -> Result<Flight, Error> {
        let began = Instant::now();
        self.queue(target, began, || self.try_acquire(target, tried, began))
            .await
    }

    async fn try_acquire(
        self: &Arc<Self>,
        target: &Target,
        tried: &[Arc<Endpoint>],
        began: Instant,
    ) -> Result<Flight, Error> {
        let mut candidates = self.candidates(target, tried, began, self.shared().now())?;
        let mut last = None;
        while let Some(endpoint) = candidates.next() {
            match self.try_endpoint(&endpoint, began).await {
                Ok(flight) => return Ok(flight),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| self.unreachable(began, String::new())))
    }

    /// A call begins on an instance at a time on the mesh's clock: until [`Endpoint::end`]. False
    /// when it has too many.
    pub(crate) fn begin(&self, endpoint: &Arc<Endpoint>, now: Duration) -> bool {
        let begun = endpoint.begin(now);
        if begun {
            self.watch(endpoint);
        }
        begun
    }

    async fn try_endpoint(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        began: Instant,
    ) -> Result<Flight, Error> {
        let place = match endpoint.reserve() {
            Ok(place) => place,
            Err(refusal) => return Err(self.refused(refusal, began)),
        };
        if !self.begin(endpoint, self.shared().now()) {
            let limit = self.options.load().max_in_flight;
            return Err(self.saturated("max_in_flight", limit, began));
        }
        // Counted before anything is awaited, so that the next pick sees it.
        let mut count = Count {
            fleet: Arc::clone(self),
            endpoint: Arc::clone(endpoint),
            flies: false,
        };
        let slot = match place {
            Some(slot) => slot,
            None => self
                .open(endpoint)
                .await
                .map_err(|refusal| self.refused(refusal, began))?,
        };
        count.flies = true;
        Ok(Flight { slot, count })
    }

    /// Opens a connection in a task of its own, which goes on when this call looks elsewhere or is
    /// given up: the next one will want it.
    async fn open(self: &Arc<Self>, endpoint: &Arc<Endpoint>) -> Result<Slot, Refusal> {
        let (fleet, dialled) = (Arc::clone(self), Arc::clone(endpoint));
        let opening = self.shared().tracker.spawn(async move {
            let (outcome, attempts) = dialled.connect().await;
            match (&outcome, attempts) {
                // The new connection has room for more than this call.
                (Ok(_), _) => {
                    fleet.watch(&dialled);
                    fleet.queue.wake();
                }
                (Err(Refusal::Broken { reason }), Some(attempts)) => {
                    fleet.broke(&dialled, reason, attempts);
                }
                (Err(_), _) => {}
            }
            // Who waits is told once more when it was for nobody, and is free only then.
            outcome.map(|slot| (slot, Room(fleet)))
        });
        let patience = self.options.load().connect_patience;
        match timeout(patience, opening).await {
            Ok(Ok(outcome)) => outcome.map(|(slot, _)| slot),
            _ => Err(Refusal::Broken {
                reason: "still connecting".to_owned(),
            }),
        }
    }

    fn refused(&self, refusal: Refusal, began: Instant) -> Error {
        match refusal {
            Refusal::Full => {
                let limit = self.options.load().max_connections;
                let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                self.saturated("max_connections", limit, began)
            }
            Refusal::Broken { reason } => self.unreachable(began, reason),
        }
    }

    pub(crate) fn unreachable(&self, began: Instant, reason: String) -> Error {
        Error::Unreachable {
            service: self.service.to_string(),
            waited: began.elapsed(),
            reason,
        }
    }

    pub(crate) fn saturated(&self, key: &'static str, limit: u32, began: Instant) -> Error {
        Error::Saturated {
            service: self.service.to_string(),
            key,
            limit,
            waited: began.elapsed(),
        }
    }
}

impl Flight {
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.count.endpoint
    }

    pub(crate) fn instance(&self) -> Arc<Instance> {
        self.endpoint().instance.load_full()
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let had_last = self.endpoint.end();
        // A call that found no connection made no room, unless others were waiting for its place.
        if self.flies || had_last {
            self.fleet.queue.make_room();
        }
    }
}
