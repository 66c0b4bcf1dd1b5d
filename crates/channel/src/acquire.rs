//! Who takes a call: an instance is picked, and a place on one of its connections taken.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use discovery::Instance;
use tokio::time::{Instant, timeout};

use crate::{
    Error, Target,
    connection::Slot,
    endpoint::{Endpoint, Refusal},
    fleet::Fleet,
    view::View,
};

/// A call in flight on an instance: counted until dropped, wherever the call ends.
pub(crate) struct Flight {
    pub(crate) slot: Slot,
    count: Count,
}

/// Instances in the order in which a call should try them.
pub(crate) struct Candidates {
    view: Arc<View>,
    request: balance::Request,
    /// The call is for one instance only.
    only: bool,
    pinned: Option<Arc<Endpoint>>,
    exclude: Vec<usize>,
    /// Those of `exclude` that this call has been given already.
    refused: Vec<usize>,
    current: Option<usize>,
    /// Who took the call before this one, of those that its caller has under way.
    before: Option<balance::Before>,
}

impl Candidates {
    /// Lets the call follow those that its caller has under way.
    pub(crate) fn follow(&mut self, burst: &Burst) {
        let last = burst.last.as_ref();
        let last = last.filter(|(view, _)| view.as_ptr() == Arc::as_ptr(&self.view));
        self.before = last.map(|(_, member)| balance::Before {
            member: *member,
            together: burst.at == self.request.now,
        });
    }

    /// Lets the next call of its caller follow this one.
    pub(crate) fn lead(&self, burst: &mut Burst) {
        burst.at = self.request.now;
        match (self.current, &mut burst.last) {
            (Some(index), Some((view, before))) if view.as_ptr() == Arc::as_ptr(&self.view) => {
                *before = index;
            }
            (Some(index), taken) => *taken = Some((Arc::downgrade(&self.view), index)),
            (None, _) => {}
        }
    }

    /// The next one, after the one before could not take the call.
    pub(crate) fn next(&mut self) -> Option<Arc<Endpoint>> {
        if self.only {
            return self.pinned.take();
        }
        if let Some(index) = self.current.take() {
            self.exclude.push(index);
            self.refused.push(index);
        }
        loop {
            let rng = &mut rand::rng();
            let set = &self.view.set;
            if let Some(index) = set.pick_after(self.before, &self.request, rng, &self.exclude) {
                self.current = Some(index);
                return Some(Arc::clone(&self.view.members[index]));
            }
            if self.exclude.len() == self.refused.len() {
                return None;
            }
            // Those tried before are better than nobody.
            self.exclude.clone_from(&self.refused);
        }
    }
}

/// Calls that one caller has under way: where the last one went. A new one when all are over.
#[derive(Default)]
pub struct Burst {
    last: Option<(Weak<View>, usize)>,
    /// On the mesh's clock: calls of one reading of it come together.
    at: Duration,
}

impl std::fmt::Debug for Burst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = self.last.as_ref().map(|(_, index)| index);
        f.debug_tuple("Burst").field(&last).finish()
    }
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
        self.queue(began, || self.try_acquire(target, tried, began))
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

    /// Whom a call may go to, the best first. `tried` come when nobody else is left.
    pub(crate) fn candidates(
        &self,
        target: &Target,
        tried: &[Arc<Endpoint>],
        began: Instant,
        now: Duration,
    ) -> Result<Candidates, Error> {
        let view = self.view.load_full();
        if !view.known {
            return Err(Error::Undiscovered(began.elapsed()));
        }
        let pinned = match &target.instance {
            Some(id) => Some(self.pinned(id)?),
            None if view.members.is_empty() => {
                return Err(Error::NoInstance {
                    service: self.service.to_string(),
                    drained: view.drained,
                });
            }
            None => None,
        };
        Ok(Candidates {
            request: balance::Request {
                session: target.session,
                now,
            },
            only: pinned.is_some(),
            pinned,
            exclude: index_of(&view.members, tried),
            refused: Vec::new(),
            current: None,
            before: None,
            view,
        })
    }

    fn pinned(&self, id: &str) -> Result<Arc<Endpoint>, Error> {
        let found = self.roster.lock().get(id).cloned();
        found.ok_or_else(|| Error::NoSuchInstance {
            service: self.service.to_string(),
            instance: id.to_owned(),
        })
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
            let (outcome, found_broken) = dialled.connect().await;
            match &outcome {
                // The new connection has room for more than this call.
                Ok(_) => {
                    fleet.watch(&dialled);
                    fleet.queue.wake();
                }
                Err(Refusal::Broken { reason }) if found_broken => fleet.broke(&dialled, reason),
                Err(_) => {}
            }
            outcome
        });
        let patience = self.options.load().connect_patience;
        match timeout(patience, opening).await {
            Ok(Ok(outcome)) => outcome,
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

fn index_of(members: &[Arc<Endpoint>], of: &[Arc<Endpoint>]) -> Vec<usize> {
    of.iter()
        .filter_map(|e| members.iter().position(|m| Arc::ptr_eq(m, e)))
        .collect()
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
