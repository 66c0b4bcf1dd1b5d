//! Why something failed: an error, and the errors that it was caused by.

use std::{error::Error, iter::successors};

/// The innermost cause of an error. It says what happened; those around it repeat it, or say only
/// that something did.
#[must_use]
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

/// An error and its causes, outermost first. What an error before it has said already is left out.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error).map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Outer(&'static str, #[source] io::Error);

    #[test]
    fn the_innermost_cause_is_told_and_nothing_twice() {
        let refused = || io::Error::other("connection refused");
        let error = Outer("connect", refused());
        assert_eq!(root_cause(&error), "connection refused");
        assert_eq!(error_chain(&error), "connect: connection refused");
        let repeats = Outer("tcp: connection refused", refused());
        assert_eq!(error_chain(&repeats), "tcp: connection refused");
        assert_eq!(error_chain(&refused()), "connection refused");
    }
}
