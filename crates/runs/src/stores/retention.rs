//! How long things are kept that nobody names.

/// How long the answer to a command is kept, milliseconds.
pub(crate) const ANSWERS: u64 = 24 * 3_600_000;
/// How long content is kept for somebody to name it, milliseconds.
pub(crate) const UNNAMED: u64 = 3_600_000;

/// What was put that long ago is put again, so that it is not swept before somebody names it.
pub(crate) const FRESH: u64 = 30 * 60_000;
