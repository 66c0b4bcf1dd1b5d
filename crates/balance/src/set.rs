//! The members of one service that may be called now.

use std::{fmt, sync::Arc};

use rand::Rng;

use crate::{
    BalanceOptions, PolicyRow, TurnCounter,
    members::{Member, Members, PickArgs, PreviousPick},
    pick::PickContext,
    policies::Policy,
};

/// Members and the policy that picks from them. Immutable.
pub struct Set {
    members: Members,
    name: &'static str,
    wants_session: bool,
    policy: Box<dyn Policy>,
}

impl Set {
    /// A set that picks by `policy`. `turn` is shared with the set that this one replaces, so that
    /// a rebuild does not restart the turns.
    #[must_use]
    pub fn new(
        members: Vec<Member>,
        policy: &PolicyRow,
        options: &BalanceOptions,
        turn: Arc<TurnCounter>,
    ) -> Self {
        let members = Members::new(members, options, turn);
        Self {
            policy: policy.build(&members, options),
            members,
            name: policy.name,
            wants_session: policy.wants_session,
        }
    }

    /// Picks a member for a call and returns its index.
    ///
    /// Members in `exclude` are not picked: the few that earlier attempts of the call have tried.
    /// `None` when no member is left. A member of weight 0 does not replace excluded ones.
    #[must_use]
    pub fn pick(&self, request: &PickArgs, rng: &mut dyn Rng, exclude: &[usize]) -> Option<usize> {
        self.pick_after(None, request, rng, exclude)
    }

    /// The same for a caller with other calls in flight. A policy may let the call follow the last
    /// of them, since calls to one place together cost less.
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
            members: &self.members,
            previous,
            request,
            rng,
            exclude,
        })
    }

    /// Whether a member gets calls, by its weight.
    #[must_use]
    pub fn has_share(&self, index: usize) -> bool {
        self.members.shares.of(index) > 0
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

    /// Whether the policy uses the session of a call.
    #[must_use]
    pub fn wants_session(&self) -> bool {
        self.wants_session
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
            .field("members", &self.members())
            .finish_non_exhaustive()
    }
}
