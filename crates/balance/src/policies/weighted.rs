//! In turn, by weight.

use super::PolicyRow;
use super::round_robin::InTurn;

/// The same as `round_robin`, since every policy respects weights: the name says what it is used
/// for.
pub(super) const ROW: PolicyRow = PolicyRow {
    name: "weighted",
    aliases: &["weighted_round_robin", "static-rr"],
    about: "in turn, by weight",
    wants_reports: false,
    wants_session: false,
    build: |_, _| Box::new(InTurn),
};
