//! In turn.

use super::{Policy, Row};
use crate::draw::Draw;

pub(super) const ROW: Row = Row {
    name: "round_robin",
    aliases: &["roundrobin"],
    about: "one member after another, whatever their load",
    build: |_, _, _| Box::new(InTurn),
};

/// The turns are those of [`Shares::in_turn`](crate::shares::Shares::in_turn): by weight.
pub(super) struct InTurn;

impl Policy for InTurn {
    fn pick(&self, draw: &mut Draw<'_>) -> Option<usize> {
        draw.in_turn()
    }
}
