//! Who asks: `X-User-ID`, which a proxy in front of the gateway sets, or the key `default_owner`.

use axum::extract::FromRequestParts;
use http::{HeaderMap, request::Parts};

use crate::{
    problem::{Problem, ProblemKind},
    state::App,
};

const HEADER: &str = "x-user-id";
/// What the predecessor of this API answers to a request without a user.
const MISSING: &str = "authentication required (X-User-ID header missing)";
/// Longest name, in characters.
const MAX_NAME: usize = 100;

/// The user of a request.
#[derive(Debug, Clone)]
pub(crate) struct Owner(pub(crate) String);

/// The user of a request that may come without one.
#[derive(Debug, Clone)]
pub(crate) struct MaybeOwner(pub(crate) Option<String>);

/// Whether a text can be a user's name.
pub(crate) fn is_owner(text: &str) -> bool {
    let length = text.chars().count();
    (1..=MAX_NAME).contains(&length)
        && text.trim() == text
        && !text
            .chars()
            .any(|letter| letter.is_control() || is_direction(letter))
}

/// Marks that change the order in which letters are shown, so that a name looks like another.
pub(crate) fn is_direction(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn named(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut names = headers.get_all(HEADER).iter();
    let (Some(name), second) = (names.next(), names.next()) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(name.as_bytes()).ok().map(str::trim);
    match text {
        Some("") if second.is_none() => Ok(None),
        Some(text) if second.is_none() && is_owner(text) => Ok(Some(text.to_owned())),
        _ => Err(Problem::new(
            ProblemKind::Malformed,
            "X-User-ID has to be one name of 1 to 100 characters that can be printed",
        )),
    }
}

impl FromRequestParts<App> for MaybeOwner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let named = named(&parts.headers)?;
        Ok(Self(
            named.or_else(|| app.workflows.keys.default_owner.clone()),
        ))
    }
}

impl FromRequestParts<App> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let MaybeOwner(name) = MaybeOwner::from_request_parts(parts, app).await?;
        let missing = || Problem::new(ProblemKind::Unauthenticated, MISSING);
        name.map(Self).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_can_be_printed() {
        for good in ["a", "test-user", "Łukasz Müller", "_global_", "a@b.example"] {
            assert!(is_owner(good), "{good}");
        }
        let long = "x".repeat(101);
        for bad in ["", " ", "a\n", "a\tb", "\u{202e}nimda", long.as_str(), "a "] {
            assert!(!is_owner(bad), "{bad:?}");
        }
    }
}
