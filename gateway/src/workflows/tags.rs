//! Names of workflows.

use runs::Tag;

use super::{
    Workflows,
    body::{bad_request, not_found},
    owner::is_direction,
};
use crate::problem::Problem;

/// Whose workflows everybody may use.
pub(crate) const GLOBAL: &str = "_global_";
/// Longest name, in characters.
const MAX_NAME: usize = 200;
/// Names that are paths of the API.
const RESERVED: [&str; 1] = ["validate"];

/// Checks a name, in the predecessor's words.
pub(crate) fn check(tag: &str) -> Result<(), String> {
    if tag.is_empty() {
        return Err("tag name cannot be empty".to_owned());
    }
    if tag.starts_with(GLOBAL) {
        return Err(format!("tag name cannot start with '{GLOBAL}'"));
    }
    if tag.chars().count() > MAX_NAME {
        return Err(format!("tag name too long (max {MAX_NAME} characters)"));
    }
    if tag
        .chars()
        .any(|letter| letter.is_control() || is_direction(letter))
    {
        return Err("tag name has characters that cannot be printed".to_owned());
    }
    if RESERVED.contains(&tag) {
        return Err(format!("tag name {tag:?} is a path of this API"));
    }
    Ok(())
}

/// The name that a path has.
///
/// # Errors
/// 400.
pub(crate) fn of_path(tag: &str) -> Result<&str, Problem> {
    match check(tag) {
        Ok(()) => Ok(tag),
        Err(reason) => Err(bad_request(format!("invalid tag name: {reason}"))),
    }
}

impl Workflows {
    /// Whose tag a name means for a user: their own, else the one that all may use.
    ///
    /// # Errors
    /// 404.
    pub(crate) async fn tag(&self, owner: &str, tag: &str) -> Result<Tag, Problem> {
        let store = self.store();
        for owner in [owner, GLOBAL] {
            match self.ask(store.tag(owner, tag)).await {
                Err(problem) if problem.status == 404 => {}
                found => return found,
            }
        }
        Err(unknown())
    }
}

pub(crate) fn unknown() -> Problem {
    not_found("workflow not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_slashes_but_nothing_that_cannot_be_seen() {
        for good in ["main", "release/v1.0", "exp/quality", "ä b", "..", "a%2Fb"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = "x".repeat(201);
        for bad in [
            "",
            "_global_",
            "_global_/x",
            "a\nb",
            "a\0",
            "\u{202e}a",
            "validate",
            &long,
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
