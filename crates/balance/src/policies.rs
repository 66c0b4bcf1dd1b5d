//! The table of policies. To add one: a file, a `mod`, a row.

mod least_request;
mod load_aware;
mod peak_ewma;
mod random;
mod round_robin;
mod session;
mod weighted;

use crate::BalanceOptions;
use crate::pick::PickContext;
use crate::set::Member;
use crate::shares::Shares;

/// Every policy, the default first.
pub const POLICIES: &[PolicyRow] = &[
    least_request::ROW,
    peak_ewma::ROW,
    round_robin::ROW,
    random::ROW,
    weighted::ROW,
    session::ROW,
    load_aware::ROW,
];

/// The policy of a service that names none.
pub const DEFAULT: &PolicyRow = &least_request::ROW;

/// The policy of a name or an alias, in whatever case; `None` when nobody has it.
#[must_use]
pub fn find_policy(name: &str) -> Option<&'static PolicyRow> {
    let named = |row: &&PolicyRow| {
        let mut names = row.aliases.iter().chain([&row.name]);
        names.any(|known| known.eq_ignore_ascii_case(name))
    };
    POLICIES.iter().find(named)
}

/// One policy.
#[derive(Clone, Copy, Debug)]
pub struct PolicyRow {
    /// What configuration and metrics call it.
    pub name: &'static str,
    /// What else it answers to: the names that HAProxy, Envoy and gRPC give to what does the same
    /// for a user.
    pub aliases: &'static [&'static str],
    /// What it picks, in a line: the guide's table of policies shows it.
    pub about: &'static str,
    /// Whether it goes by the load that members report: see [`Load::report`](crate::Load::report).
    pub wants_reports: bool,
    /// Whether it goes by the session of a call: see [`PickArgs::session`](crate::PickArgs).
    pub wants_session: bool,
    build: fn(&[Member], &Shares, &BalanceOptions) -> Box<dyn Policy>,
}

impl PolicyRow {
    pub(crate) fn build(
        &self,
        members: &[Member],
        shares: &Shares,
        options: &BalanceOptions,
    ) -> Box<dyn Policy> {
        (self.build)(members, shares, options)
    }
}

/// A way to choose. It is rebuilt with its set, so what it knows of the members may be prepared.
pub(crate) trait Policy: Send + Sync {
    /// An index into the members, of which there is one at least. `None` when all that may be
    /// called are excluded.
    fn pick(&self, context: &mut PickContext<'_>) -> Option<usize>;
}
