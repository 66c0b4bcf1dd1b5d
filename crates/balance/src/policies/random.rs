//! By chance.

use super::{Policy, PolicyRow};
use crate::pick::PickContext;

pub(super) const ROW: PolicyRow = PolicyRow {
    name: "random",
    aliases: &[],
    about: "at random, by weight",
    wants_reports: false,
    wants_session: false,
    build: |_, _| Box::new(Random),
};

struct Random;

impl Policy for Random {
    fn pick(&self, context: &mut PickContext<'_>) -> Option<usize> {
        context.at_random()
    }
}
