//! When something is looked at.

use tokio::time::Instant;

/// When something is looked at again, and whether it is looked at now.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) busy: bool,
    /// Something wanted a look while it was looked.
    wanted: Option<Instant>,
}

impl Look {
    pub(super) fn new(at: Instant) -> Self {
        Self {
            at,
            busy: false,
            wanted: None,
        }
    }

    /// Whether it is time; then it is busy until [`Look::again`].
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let due = !self.busy && self.at <= now;
        self.busy |= due;
        due
    }

    /// It has been looked at; the next look is then, unless something wanted one earlier meanwhile.
    pub(super) fn again(&mut self, at: Instant) {
        self.busy = false;
        self.at = self.wanted.take().map_or(at, |wanted| wanted.min(at));
    }

    /// It is looked at by then.
    pub(super) fn by(&mut self, at: Instant) {
        match self.busy {
            true => self.wanted = Some(self.wanted.map_or(at, |wanted| wanted.min(at))),
            false => self.at = self.at.min(at),
        }
    }
}
