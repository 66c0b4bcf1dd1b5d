//! The kind `pipeline`: research, code and review towards a goal.

use serde::{Deserialize, Serialize};

use crate::{FieldError, ids::IdSeed};

/// The longest goal or description, in bytes.
pub(crate) const MAX_TEXT: usize = 64 << 10;

/// A run of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// What to find out and to draft.
    pub goal: String,
    /// Names the run and its folder: letters, digits, `-` and `_`.
    pub run_id: String,
}

impl Pipeline {
    /// A new run. Under an idempotency key it has the same id each time.
    #[must_use]
    pub fn new(goal: &str, idempotency_key: Option<&str>) -> Self {
        Self {
            goal: goal.to_owned(),
            run_id: IdSeed::new(idempotency_key, goal).id("run", 0),
        }
    }

    pub(crate) fn check(&self) -> Result<(), FieldError> {
        check_text("goal", &self.goal)?;
        check_id("run_id", &self.run_id)
    }
}

pub(crate) fn check_text(field: &str, text: &str) -> Result<(), FieldError> {
    if text.trim().is_empty() {
        return Err(FieldError::new(field, "is empty, say what to do"));
    }
    if text.len() > MAX_TEXT {
        let reason = format!("{} bytes are more than the {MAX_TEXT} allowed", text.len());
        return Err(FieldError::new(field, reason));
    }
    Ok(())
}

/// Ids become names of folders and parts of keys.
pub(crate) fn check_id(field: impl Into<String>, id: &str) -> Result<(), FieldError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) {
        let reason = format!("{id:?} is none, use 1 to 64 letters, digits, - and _");
        return Err(FieldError::new(field, reason));
    }
    Ok(())
}
