//! Outputs that are too large to be kept inline.

use std::{fmt::Write as _, sync::Arc};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    Output,
    workflow::{MAX_DEPTH, length, too_deep},
};

/// Largest output that is kept inline, bytes of JSON text.
pub const MAX_INLINE: usize = 64 << 10;
/// Largest output at all, bytes of JSON text.
pub const MAX_OUTPUT: usize = 8 << 20;

/// The name of content: `sha256:…`.
#[must_use]
pub fn blob_id(content: &[u8]) -> String {
    let mut id = String::with_capacity(71);
    id.push_str("sha256:");
    for byte in Sha256::digest(content) {
        // Writing to a text cannot fail.
        let _written = write!(id, "{byte:02x}");
    }
    id
}

/// An output of a value, and the content of the blob that it becomes if it is large.
pub(crate) fn output(value: Arc<Value>) -> Result<(Output, Option<Vec<u8>>), String> {
    if too_deep(&value, MAX_DEPTH) {
        return Err(format!("the output has more than {MAX_DEPTH} levels"));
    }
    let length = length(&value);
    if length > MAX_OUTPUT {
        return Err(format!(
            "the output has {length} bytes, at most {MAX_OUTPUT}"
        ));
    }
    if length <= MAX_INLINE {
        return Ok((Output { value, blob: None }, None));
    }
    let content = serde_json::to_vec(&*value).map_err(|error| error.to_string())?;
    let blob = Some(blob_id(&content));
    Ok((Output { value, blob }, Some(content)))
}
