//! A row of the table of checks.

use std::{future::Future, pin::Pin};

use super::{finding::Finding, scene::Scene};

/// What a check finds, once it has looked.
pub(super) type Found<'a> = Pin<Box<dyn Future<Output = Finding> + Send + 'a>>;

/// One check.
#[derive(Debug)]
pub(super) struct Check {
    /// Its name on the command line and in the answer.
    pub(super) code: &'static str,
    /// What it looks for, in a line.
    pub(super) about: &'static str,
    /// Makes it.
    pub(super) run: for<'a> fn(&'a Scene) -> Found<'a>,
}
