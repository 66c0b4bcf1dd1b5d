//! By chance.

use super::{Policy, Row};
use crate::draw::Draw;

pub(super) const ROW: Row = Row {
    name: "random",
    aliases: &[],
    about: "any member, by chance and weight",
    build: |_, _, _| Box::new(Random),
};

struct Random;

impl Policy for Random {
    fn pick(&self, draw: &mut Draw<'_>) -> Option<usize> {
        draw.at_random()
    }
}
