//! In what order instances are asked whether they can take a call.

use std::{
    ops::Range,
    sync::{Arc, Weak},
    time::Duration,
    vec,
};

use rand::RngExt as _;
use tokio::time::Instant;

use crate::{Error, Target, endpoint::Endpoint, fleet::Fleet, view::View};

/// How many the policy chooses for one call. Where so many cannot take it most cannot, and the
/// others are asked one after another: choosing among few that are left costs more than that.
const CHOSEN: usize = 8;

/// Instances in the order in which a call should try them.
pub(crate) struct Candidates {
    view: Arc<View>,
    request: balance::Request,
    /// The call is for one instance only.
    only: bool,
    pinned: Option<Arc<Endpoint>>,
    /// Those that earlier attempts have tried, and those of the policy's that could not.
    exclude: Vec<usize>,
    /// How many the policy chose.
    chosen: usize,
    /// The others, in order from any one on, modulo their number.
    rest: Option<Range<usize>>,
    /// Better than nobody.
    tried: vec::IntoIter<usize>,
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
        let index = self
            .choose()
            .or_else(|| self.next_of_rest())
            .or_else(|| self.tried.next())?;
        self.current = Some(index);
        Some(Arc::clone(&self.view.members[index]))
    }

    fn choose(&mut self) -> Option<usize> {
        if self.rest.is_some() {
            return None;
        }
        self.exclude.extend(self.current);
        if self.chosen == CHOSEN {
            return None;
        }
        self.chosen += 1;
        let (set, rng) = (&self.view.set, &mut rand::rng());
        set.pick_after(self.before, &self.request, rng, &self.exclude)
    }

    fn next_of_rest(&mut self) -> Option<usize> {
        let len = self.view.members.len();
        let rest = self.rest.get_or_insert_with(|| {
            let start = rand::rng().random_range(0..len);
            start..start + len
        });
        let mut rest = rest.map(|place| place % len);
        rest.find(|index| self.view.set.has_share(*index) && !self.exclude.contains(index))
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

impl Fleet {
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
            return Err(Error::Undiscovered {
                waited: began.elapsed(),
                trouble: self.shared().discovery.last_error(),
            });
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
        let index = |endpoint| view.members.iter().position(|m| Arc::ptr_eq(m, endpoint));
        let tried: Vec<usize> = tried.iter().filter_map(index).collect();
        Ok(Candidates {
            request: balance::Request {
                session: target.session,
                now,
            },
            only: pinned.is_some(),
            pinned,
            exclude: tried.clone(),
            tried: tried.into_iter(),
            chosen: 0,
            rest: None,
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
}
