//! The order in which instances are tried for a call.

use std::{
    ops::Range,
    sync::{Arc, Weak},
    time::Duration,
    vec,
};

use rand::RngExt as _;
use tokio::time::Instant;

use crate::{
    Error, Target,
    cluster_client::ClusterClient,
    connections::{Endpoint, Http2Connections},
};

type Snapshot = cluster::ClusterSnapshot<Http2Connections>;

/// Why instances are not known that there may be.
const HIDDEN: &str = "the registry names the service and shows none of its instances: the token lacks \
    the right to read their nodes";

/// How many instances the policy chooses for one call. When none of them can take it, most cannot,
/// and the others are tried in order. That is cheaper than choosing among few.
const CHOSEN: usize = 8;

/// Instances in the order in which a call should try them.
pub(crate) struct Candidates {
    snapshot: Arc<Snapshot>,
    request: balance::PickArgs,
    /// The call is for one instance only.
    only: bool,
    pinned: Option<Arc<Endpoint>>,
    /// Instances of earlier attempts, and the policy's choices that could not take the call.
    exclude: Vec<usize>,
    /// How many the policy chose.
    chosen: usize,
    /// The position among the others, from a random one on, modulo their number.
    remaining: Option<Range<usize>>,
    /// The last choice: instances of earlier attempts.
    tried: vec::IntoIter<usize>,
    current: Option<usize>,
    /// The instance of its caller's last call, while calls of it are in flight.
    previous: Option<balance::PreviousPick>,
}

impl Candidates {
    /// Lets the call follow its caller's calls in flight.
    pub(crate) fn apply_affinity(&mut self, affinity: &CallAffinity) {
        let last = affinity.last.as_ref();
        let last = last.filter(|(snapshot, _)| snapshot.as_ptr() == Arc::as_ptr(&self.snapshot));
        self.previous = last.map(|(_, member)| balance::PreviousPick {
            member: *member,
            together: affinity.at == self.request.now,
        });
    }

    /// Lets its caller's next call follow this one.
    pub(crate) fn record_affinity(&self, affinity: &mut CallAffinity) {
        affinity.at = self.request.now;
        match (self.current, &mut affinity.last) {
            (Some(index), Some((snapshot, previous)))
                if snapshot.as_ptr() == Arc::as_ptr(&self.snapshot) =>
            {
                *previous = index;
            }
            (Some(index), taken) => *taken = Some((Arc::downgrade(&self.snapshot), index)),
            (None, _) => {}
        }
    }

    /// The next instance to try.
    pub(crate) fn next(&mut self) -> Option<Arc<Endpoint>> {
        if self.only {
            return self.pinned.take();
        }
        let index = self
            .choose()
            .or_else(|| self.next_remaining())
            .or_else(|| self.tried.next())?;
        self.current = Some(index);
        Some(Arc::clone(&self.snapshot.members[index]))
    }

    fn choose(&mut self) -> Option<usize> {
        if self.remaining.is_some() {
            return None;
        }
        self.exclude.extend(self.current);
        if self.chosen == CHOSEN {
            return None;
        }
        self.chosen += 1;
        let (set, rng) = (&self.snapshot.set, &mut rand::rng());
        set.pick_after(self.previous, &self.request, rng, &self.exclude)
    }

    fn next_remaining(&mut self) -> Option<usize> {
        let len = self.snapshot.members.len();
        let remaining = self.remaining.get_or_insert_with(|| {
            let start = rand::rng().random_range(0..len);
            start..start + len
        });
        let mut remaining = remaining.map(|place| place % len);
        remaining.find(|index| self.snapshot.set.has_share(*index) && !self.exclude.contains(index))
    }
}

/// Where the last of one caller's calls in flight went. Make a new one when none is in flight.
#[derive(Default)]
pub struct CallAffinity {
    last: Option<(Weak<Snapshot>, usize)>,
    /// On the mesh's clock. Calls at the same reading of it come together.
    at: Duration,
}

impl std::fmt::Debug for CallAffinity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = self.last.as_ref().map(|(_, index)| index);
        f.debug_tuple("CallAffinity").field(&last).finish()
    }
}

impl ClusterClient {
    /// The instances that a call may go to, the best first. Those in `tried` come last.
    pub(crate) fn candidates(
        &self,
        target: &Target,
        tried: &[Arc<Endpoint>],
        began: Instant,
        now: Duration,
    ) -> Result<Candidates, Error> {
        let snapshot = Arc::clone(&self.cluster.snapshot());
        if !snapshot.known {
            return Err(Error::Undiscovered {
                waited: began.elapsed(),
                trouble: self.registry_error(),
            });
        }
        let pinned = match &target.instance {
            Some(id) => Some(self.pinned(id)?),
            // It may have instances: that is the registry's failure, and not theirs.
            None if snapshot.registered == 0 && self.is_hidden() => {
                return Err(Error::Undiscovered {
                    waited: began.elapsed(),
                    trouble: Some(HIDDEN.to_owned()),
                });
            }
            None if snapshot.members.is_empty() => {
                return Err(Error::NoInstance {
                    service: self.cluster.service().to_string(),
                    drained: snapshot.drained,
                });
            }
            None => None,
        };
        let index = |endpoint| {
            snapshot
                .members
                .iter()
                .position(|m| Arc::ptr_eq(m, endpoint))
        };
        let tried: Vec<usize> = tried.iter().filter_map(index).collect();
        Ok(Candidates {
            request: balance::PickArgs {
                session: target.session,
                now,
            },
            only: pinned.is_some(),
            pinned,
            exclude: tried.clone(),
            tried: tried.into_iter(),
            chosen: 0,
            remaining: None,
            current: None,
            previous: None,
            snapshot,
        })
    }

    fn pinned(&self, id: &str) -> Result<Arc<Endpoint>, Error> {
        self.cluster
            .endpoint(id)
            .ok_or_else(|| Error::NoSuchInstance {
                service: self.cluster.service().to_string(),
                instance: id.to_owned(),
            })
    }
}
