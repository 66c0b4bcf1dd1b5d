//! What a check has found.

/// How many things one finding names.
const NAMED: usize = 4;

/// The verdict of one check, the more pressing last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// The mesh does without what is checked.
    NotUsed,
    /// Nothing is wrong.
    Well,
    /// It works, and may soon stop working.
    Warning,
    /// The check cannot see enough.
    CannotTell,
    /// It does not work.
    Wrong,
}

impl Verdict {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NotUsed => "not used",
            Self::Well => "well",
            Self::Warning => "warning",
            Self::CannotTell => "cannot tell",
            Self::Wrong => "wrong",
        }
    }
}

/// What was seen, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    pub(super) seen: String,
    pub(super) todo: String,
}

impl Finding {
    pub(super) fn new(verdict: Verdict, seen: impl Into<String>, todo: impl Into<String>) -> Self {
        // An address may hold a password.
        Self {
            verdict,
            seen: telemetry::redact(&seen.into()).into_owned(),
            todo: todo.into(),
        }
    }

    pub(super) fn well(seen: impl Into<String>) -> Self {
        Self::new(Verdict::Well, seen, "")
    }

    pub(super) fn not_used(seen: impl Into<String>) -> Self {
        Self::new(Verdict::NotUsed, seen, "")
    }

    pub(super) fn warning(seen: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(Verdict::Warning, seen, todo)
    }

    pub(super) fn cannot_tell(seen: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(Verdict::CannotTell, seen, todo)
    }

    pub(super) fn wrong(seen: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(Verdict::Wrong, seen, todo)
    }
}

/// Some of them by name, and how many more there are.
pub(super) fn some<T: AsRef<str>>(names: &[T]) -> String {
    let named: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    let named = named.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_things_are_named_in_part() {
        assert_eq!(some(&["a", "b"]), "a, b");
        assert_eq!(
            some(&["a", "b", "c", "d", "e", "f"]),
            "a, b, c, d and 2 more"
        );
    }

    #[test]
    fn no_password_is_shown() {
        let finding = Finding::wrong("redis://:hunter2@host is away", "");
        assert!(!finding.seen.contains("hunter2"), "{finding:?}");
    }
}
