//! What is wrong with a payload.

/// An invalid field: front ends answer 422 with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// The field, as a path such as `subtasks[0].description`; `payload` for the whole.
    pub field: String,
    /// What is wrong, and what would be valid.
    pub reason: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        let (field, reason) = (field.into(), reason.into());
        Self { field, reason }
    }

    /// Serde's error, at the field that it is about.
    pub(crate) fn of(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        let said = error.inner().to_string();
        // The position is one in our own text, which the submitter has not seen.
        let reason = said
            .split_once(" at line ")
            .map_or(said.as_str(), |(reason, _)| reason);
        // A missing or unknown field is named in the text, and its parent in the path.
        let named = ["missing field `", "unknown field `"]
            .iter()
            .find_map(|start| reason.strip_prefix(start)?.split_once('`'));
        let field = match named {
            Some((name, _)) if path == name || path.ends_with(&format!(".{name}")) => path,
            Some((name, _)) if path.is_empty() => name.to_owned(),
            Some((name, _)) => format!("{path}.{name}"),
            None if path.is_empty() => "payload".to_owned(),
            None => path,
        };
        let reason = match reason.starts_with("missing field `") {
            true => "is missing".to_owned(),
            false => telemetry::humanize(reason).into_owned(),
        };
        Self { field, reason }
    }
}
