//! In turn.

use super::{Policy, PolicyRow};
use crate::pick::PickContext;

pub(super) const ROW: PolicyRow = PolicyRow {
    name: "round_robin",
    aliases: &["roundrobin"],
    about: "in turn, whatever the load",
    wants_reports: false,
    wants_session: false,
    build: |_, _| Box::new(InTurn),
};

/// The turns are by weight: see [`Shares::in_turn`](crate::shares::Shares::in_turn).
pub(super) struct InTurn;

impl Policy for InTurn {
    fn pick(&self, context: &mut PickContext<'_>) -> Option<usize> {
        context.in_turn()
    }
}
