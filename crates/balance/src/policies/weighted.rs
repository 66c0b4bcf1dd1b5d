//! In turn, by weight.

use super::PolicyRow;
use super::round_robin::InTurn;

/// What `round_robin` does, under the name that says what it is used for: every policy respects
/// weights, and equal ones are the special case.
pub(super) const ROW: PolicyRow = PolicyRow {
    name: "weighted",
    aliases: &["weighted_round_robin", "static-rr"],
    about: "in turn, by weight",
    wants_reports: false,
    wants_session: false,
    build: |_, _, _| Box::new(InTurn),
};
