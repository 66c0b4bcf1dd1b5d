//! In what order instances are asked whether they can take a call.

use std::{
    ops::Range,
    sync::{Arc, Weak},
    time::Duration,
    vec,
};

use rand::RngExt as _;
use tokio::time::Instant;

use crate::{Error, Target, cluster::Cluster, endpoint::Endpoint, snapshot::ClusterSnapshot};

/// How many the policy chooses for one call. Where so many cannot take it most cannot, and the
/// others are asked one after another: choosing among few that are left costs more than that.
const CHOSEN: usize = 8;

/// Instances in the order in which a call should try them.
pub(crate) struct Candidates {
    snapshot: Arc<ClusterSnapshot>,
    request: balance::PickArgs,
    /// The call is for one instance only.
    only: bool,
    pinned: Option<Arc<Endpoint>>,
    /// Those that earlier attempts have tried, and those of the policy's that could not.
    exclude: Vec<usize>,
    /// How many the policy chose.
    chosen: usize,
    /// The others, in order from any one on, modulo their number.
    remaining: Option<Range<usize>>,
    /// Better than nobody.
    tried: vec::IntoIter<usize>,
    current: Option<usize>,
    /// Who took the call before this one, of those that its caller has under way.
    previous: Option<balance::PreviousPick>,
}

impl Candidates {
    /// Lets the call follow those that its caller has under way.
    pub(crate) fn apply_affinity(&mut self, affinity: &CallAffinity) {
        let last = affinity.last.as_ref();
        let last = last.filter(|(snapshot, _)| snapshot.as_ptr() == Arc::as_ptr(&self.snapshot));
        self.previous = last.map(|(_, member)| balance::PreviousPick {
            member: *member,
            together: affinity.at == self.request.now,
        });
    }

    /// Lets the next call of its caller follow this one.
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

    /// The next one, after the one before could not take the call.
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

/// Calls that one caller has under way: where the last one went. A new one when all are over.
#[derive(Default)]
pub struct CallAffinity {
    last: Option<(Weak<ClusterSnapshot>, usize)>,
    /// On the mesh's clock: calls of one reading of it come together.
    at: Duration,
}

impl std::fmt::Debug for CallAffinity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = self.last.as_ref().map(|(_, index)| index);
        f.debug_tuple("CallAffinity").field(&last).finish()
    }
}

impl Cluster {
    /// Whom a call may go to, the best first. `tried` come when nobody else is left.
    pub(crate) fn candidates(
        &self,
        target: &Target,
        tried: &[Arc<Endpoint>],
        began: Instant,
        now: Duration,
    ) -> Result<Candidates, Error> {
        let snapshot = self.snapshot.load_full();
        if !snapshot.known {
            return Err(Error::Undiscovered {
                waited: began.elapsed(),
                trouble: self.shared().discovery.last_error(),
            });
        }
        let pinned = match &target.instance {
            Some(id) => Some(self.pinned(id)?),
            None if snapshot.members.is_empty() => {
                return Err(Error::NoInstance {
                    service: self.service.to_string(),
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
        let found = self.endpoints.lock().get(id).cloned();
        found.ok_or_else(|| Error::NoSuchInstance {
            service: self.service.to_string(),
            instance: id.to_owned(),
        })
    }
}
