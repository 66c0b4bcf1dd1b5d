//! Checks of fields that several kinds have.

use crate::FieldError;

/// The longest goal or description, in bytes.
const MAX_TEXT: usize = 64 << 10;

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
