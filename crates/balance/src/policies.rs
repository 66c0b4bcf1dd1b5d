//! The table of policies. To add one: a file, a `mod`, a row.

mod least_request;
mod load_aware;
mod peak_ewma;
mod random;
mod round_robin;
mod session;
mod weighted;

use crate::{BalanceOptions, members::Members, pick::PickContext};

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

/// The policy of this name or alias, in any case.
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
    /// Its name in configuration and metrics.
    pub name: &'static str,
    /// The names that HAProxy, Envoy and gRPC have for the same.
    pub aliases: &'static [&'static str],
    /// What it picks, in a line: the guide's table of policies shows it.
    pub about: &'static str,
    /// Whether it uses load reports: see [`Load::report`](crate::Load::report).
    pub wants_reports: bool,
    /// Whether it uses the session of a call: see [`PickArgs::session`](crate::PickArgs).
    pub wants_session: bool,
    build: fn(&Members, &BalanceOptions) -> Box<dyn Policy>,
}

impl PolicyRow {
    pub(crate) fn build(&self, members: &Members, options: &BalanceOptions) -> Box<dyn Policy> {
        (self.build)(members, options)
    }
}

/// A balancing policy. It is rebuilt with its set, so it may prepare what it needs of the members.
pub(crate) trait Policy: Send + Sync {
    /// The index of a member, of which there is at least one. `None` when all are excluded.
    fn pick(&self, context: &mut PickContext<'_>) -> Option<usize>;
}
