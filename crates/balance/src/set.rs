//! The members of one service that may be called now.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use crate::pick::PickContext;
use crate::policies::Policy;
use crate::shares::Shares;
use crate::slow_start::SlowStart;
use crate::{BalanceOptions, Load, PolicyRow, TurnCounter};

/// One endpoint, as policies see it.
#[derive(Clone, Debug)]
pub struct Member {
    /// [`hash`](crate::hash) of the instance's key: the same in every process.
    pub hash: u64,
    /// Its capacity as a multiple of another's. 0 gets nothing, unless all are 0: then all are
    /// equal.
    pub weight: u32,
    /// Its load; the same one in every set that the endpoint is a member of.
    pub load: Arc<Load>,
}

/// What a pick may depend on.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickArgs {
    /// [`hash`](crate::hash) of the session's id, if the call belongs to one.
    pub session: Option<u64>,
    /// The time, since the epoch that the members' [loads](Load) are told.
    pub now: Duration,
}

/// Who took the call that its caller made before this one, and that may still be under way.
#[derive(Clone, Copy, Debug)]
pub struct PreviousPick {
    /// Its index in the set.
    pub member: usize,
    /// Whether the two calls come together.
    pub together: bool,
}

/// Members and the policy that picks from them. Immutable.
pub struct Set {
    members: Vec<Member>,
    name: &'static str,
    policy: Box<dyn Policy>,
    pub(crate) shares: Shares,
    pub(crate) slow_start: SlowStart,
    pub(crate) turn: Arc<TurnCounter>,
    pub(crate) affinity_slack: u32,
}

impl Set {
    /// A set that picks as `policy` says. `turn` goes on from the set that this one replaces, so
    /// that taking turns does not start again with each rebuild.
    #[must_use]
    pub fn new(
        members: Vec<Member>,
        policy: &PolicyRow,
        options: &BalanceOptions,
        turn: Arc<TurnCounter>,
    ) -> Self {
        for member in &members {
            member.load.tune(options);
        }
        let shares = Shares::new(members.iter().map(|member| member.weight));
        let callable = (0..members.len()).filter(|index| shares.of(*index) > 0);
        let slow_start = SlowStart::new(callable.map(|index| &members[index]), options);
        let policy_of_set = policy.build(&members, &shares, options);
        Self {
            members,
            name: policy.name,
            policy: policy_of_set,
            shares,
            slow_start,
            turn,
            affinity_slack: options.affinity_slack,
        }
    }

    /// Picks a member for a call and returns its index.
    ///
    /// Members in `exclude` (those that earlier attempts of the call have tried; a few) are not
    /// picked. `None` when nobody is left, or nobody was there; a member of weight 0 is no
    /// substitute for others that are excluded.
    #[must_use]
    pub fn pick(&self, request: &PickArgs, rng: &mut dyn Rng, exclude: &[usize]) -> Option<usize> {
        self.pick_after(None, request, rng, exclude)
    }

    /// The same for a call whose caller has others under way: a policy may let it follow the last of
    /// them, since what goes to one place together costs less.
    #[must_use]
    pub fn pick_after(
        &self,
        previous: Option<PreviousPick>,
        request: &PickArgs,
        rng: &mut dyn Rng,
        exclude: &[usize],
    ) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        self.policy.pick(&mut PickContext {
            set: self,
            previous,
            request,
            rng,
            exclude,
        })
    }

    /// Whether a member gets calls at all, by its weight.
    #[must_use]
    pub fn has_share(&self, index: usize) -> bool {
        self.shares.of(index) > 0
    }

    /// The members, in the order they were given: what [`pick`](Self::pick) indexes.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The [name](PolicyRow::name) of the policy.
    #[must_use]
    pub fn policy(&self) -> &'static str {
        self.name
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl fmt::Debug for Set {
    /// Without the policy's tables, which may be a million points.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set")
            .field("policy", &self.name)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}
